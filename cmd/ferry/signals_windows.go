package main

import "os"

// cutoverSignal never receives anything: use ferry task cutover.
func cutoverSignal() <-chan os.Signal { return nil }

// shell runs a command line as cmd.exe would.
func shell(line string) []string { return []string{"cmd", "/c", line} }

package command

import "os/exec"

// group leaves the command as it is: exec kills the process itself.
func group(*exec.Cmd) {}

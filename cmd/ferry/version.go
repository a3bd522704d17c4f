package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker in releases: -ldflags "-X main.version=… -X main.commit=… -X main.date=…".
// A plain `go build` leaves them empty; the build information of the toolchain fills in then.
var version, commit, date string

// versionCommand prints version, commit and build date.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and build date",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	module, set := "", map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		module = info.Main.Version
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
	}
	return fmt.Sprintf("ferry %s commit %s built %s %s %s/%s",
		cmp.Or(version, module, "unknown"), cmp.Or(commit, set["vcs.revision"], "unknown"), cmp.Or(date, set["vcs.time"], "unknown"),
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

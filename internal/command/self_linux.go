package command

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"syscall"
)

// Self starts this very program once more, also when its file was replaced or removed meanwhile, with other arguments: in a session
// of its own, so that what is done to the group of this process does not reach it, at the root directory, with the null device for
// standard input, output and error. files become its descriptors 3, 4 and so on. The caller waits for it.
func Self(log *slog.Logger, files []*os.File, args ...string) (*os.Process, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Env = slices.DeleteFunc(os.Environ(), ours)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s again: %w", os.Args[0], err)
	}
	log.Info("started again beside this process", "argv", cmd.Args, "pid", cmd.Process.Pid)
	return cmd.Process, nil
}

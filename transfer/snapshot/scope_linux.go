package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// leaveScope moves this process to the root of the control groups by which systemd keeps and ends services (cgroups(7)): the unified
// hierarchy, and the one named systemd. Stopping the agent's unit then does not kill it.
func leaveScope() error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	var errs []error
	for line := range bytes.Lines(text) {
		f := bytes.SplitN(bytes.TrimSpace(line), []byte(":"), 3)
		if len(f) != 3 || string(f[2]) == "/" {
			continue
		}
		switch string(f[1]) {
		case "":
			errs = append(errs, joinRoot("cgroup2", ""))
		case "name=systemd":
			errs = append(errs, joinRoot("cgroup", "name=systemd"))
		}
	}
	return errors.Join(errs...)
}

// joinRoot moves this process to the root of one hierarchy.
func joinRoot(fstype, option string) error {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != fstype || m.Root != "/" || option != "" && !hasOption(m.VFSOptions, option), false
	})
	if err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	if len(mounts) == 0 {
		return errors.New("control groups: not mounted")
	}
	return os.WriteFile(filepath.Join(mounts[0].Mountpoint, "cgroup.procs"), []byte("0"), 0)
}

func hasOption(list, name string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if o == name {
			return true
		}
	}
	return false
}

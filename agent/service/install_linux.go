package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/packaging"
)

const (
	systemd = "linux-systemd"
	ownUnit = "/etc/systemd/system/" + Name + ".service" // where an administrator's units are, above those of packages
	dropIn  = "/etc/systemd/system/" + Name + ".service.d/limits.conf"
)

// packageUnits are where packages put units. /lib is Debian's way to say /usr/lib.
var packageUnits = []string{"/usr/lib/systemd/system/" + Name + ".service", "/lib/systemd/system/" + Name + ".service"}

func (m *Manager) install(ctx context.Context) error {
	if m.Platform() != systemd {
		m.service.Uninstall() //nolint:errcheck // nothing may be there; what is in the way Install tells
		return m.service.Install()
	}
	if err := m.limit(); err != nil {
		return err
	}
	if err := os.Remove(ownUnit); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !m.packaged() {
		return m.service.Install()
	}
	return errors.Join(m.systemctl(ctx, "daemon-reload"), m.systemctl(ctx, "enable", Name))
}

func (m *Manager) uninstall(ctx context.Context) error {
	if m.Platform() != systemd {
		return m.service.Uninstall()
	}
	if err := os.RemoveAll(filepath.Dir(dropIn)); err != nil {
		return err
	}
	if _, err := os.Stat(ownUnit); err == nil {
		return m.service.Uninstall()
	}
	return errors.Join(m.systemctl(ctx, "disable", Name), m.systemctl(ctx, "daemon-reload"))
}

// packaged reports whether a package brought a unit that does what this setup wants.
func (m *Manager) packaged() bool {
	for _, path := range packageUnits {
		if text, err := os.ReadFile(path); err == nil {
			return string(text) == packaging.SystemdUnit(m.setup.Program, m.setup.Config)
		}
	}
	return false
}

// limit writes the drop-in that limits the service, or removes it when there is nothing to limit.
func (m *Manager) limit() error {
	text := m.setup.Limits.dropIn()
	if text == "" {
		return os.RemoveAll(filepath.Dir(dropIn))
	}
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(dropIn, []byte(text), 0o644)
}

// dropIn returns the text of the limits for systemd, "" if there are none.
func (l Limits) dropIn() string {
	var b strings.Builder
	for _, line := range []struct {
		key   string
		value int64
	}{{"CPUWeight", int64(l.CPUWeight)}, {"IOWeight", int64(l.IOWeight)}, {"MemoryMax", l.MemoryMax}} {
		if line.value != 0 {
			fmt.Fprintf(&b, "%s=%d\n", line.key, line.value)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "# Written by `ferry agent install` from the group service of the configuration.\n[Service]\n" + b.String()
}

func (m *Manager) systemctl(ctx context.Context, args ...string) error {
	_, err := command.Run(ctx, m.log, append([]string{"systemctl"}, args...)...)
	return err
}

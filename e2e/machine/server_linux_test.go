package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/target/configure"
)

// moveService migrates the machine that it runs on to its second disk.
const moveService = `[Unit]
After=network-online.target up.service
Wants=network-online.target
ConditionPathExists=/dev/vdb
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /move
StandardOutput=file:/dev/console
StandardError=file:/dev/console
`

const moveScript = `
/ferry target --into disks --disk /dev/vdb --state /run/target --listen 127.0.0.1:0 --once --json >/run/listening &
while ! [ -s /run/listening ] && kill -0 $!; do sleep 0.5; done
said=$(</run/listening); addr=${said#*addr\":\"}; pair=${said#*pair\":\"}
/ferry migrate / --to "${addr%%\"*}" --pair "${pair%%\"*}" --state /var/lib/ferry --verify quick --compress none
echo "FERRY-MIGRATED $?"
wait $!
echo "FERRY-TARGET $? "
sync
echo o >/proc/sysrq-trigger
`

// TestServer: a running Debian is moved file level onto a blank disk: laid out, received, made to start; and that disk starts by itself.
func TestServer(t *testing.T) {
	m := move(t, BIOS)
	ferry := filepath.Join(m.root, "ferry")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", ferry, "../../cmd/ferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for name, text := range map[string]string{"move": moveScript, "etc/systemd/system/move.service": moveService} {
		require.NoError(t, os.WriteFile(filepath.Join(m.root, name), []byte(text), 0o644))
	}
	must(t, "ln", "-sf", "../move.service", m.root+"/etc/systemd/system/multi-user.target.wants/move.service")
	_, err = configure.Run(t.Context(), m.root, m.facts, configure.Options{Network: configure.NetworkDHCP, Hostname: "new", Serial: "ttyS0"})
	require.NoError(t, err)
	must(t, "umount", m.root)
	must(t, "sync", m.image)

	second := filepath.Join(filepath.Dir(m.image), "second")
	require.NoError(t, blank(second, 1400)) // larger than the first
	boot(t, false, []string{"FERRY-MIGRATED 0", "FERRY-TARGET 0 "}, m.image, second)
	boot(t, false, []string{"FERRY-UP new /dev/vda", "10.0.2.15/24", "new login: "}, second)
}

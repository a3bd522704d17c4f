package snapshot

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The freezer leaves the control group of its agent, so that who kills that group does not kill it.
func TestScope(t *testing.T) {
	mnt := mount(t, "ext4")
	trees, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	require.NoError(t, err)
	if len(trees) == 0 {
		t.Skip("needs the unified hierarchy of control groups")
	}
	group := filepath.Join(trees[0].Mountpoint, fmt.Sprintf("ferry-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("needs a control group of its own: %v", err)
	}
	defer func() { require.NoError(t, os.Remove(group)) }()
	dir, err := os.Open(group)
	require.NoError(t, err)
	defer dir.Close()

	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+hang+"|"+mnt)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	freezer := strings.TrimSpace(line)
	for pid, want := range map[string]string{fmt.Sprint(cmd.Process.Pid): "/" + filepath.Base(group), freezer: "/"} {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
		require.NoError(t, err)
		require.Contains(t, string(text)+"\n", "0::"+want+"\n")
	}
	var id int
	_, err = fmt.Sscan(freezer, &id)
	require.NoError(t, err)
	fd, err := unix.PidfdOpen(id, 0)
	require.NoError(t, err)
	cmd.Process.Kill()
	_ = cmd.Wait() // killed
	gone(t, fd)
}

package disks

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/target/layout"
)

// TestServer: a disk is found, planned and laid out on another, and the files of its filesystems arrive there. A target that is killed in between and
// started again goes on with what it laid out.
func TestServer(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "losetup", "sfdisk", "partx", "mkfs.ext4", "rsync", "wipefs", "blkid")
	dir := t.TempDir()
	ferry := filepath.Join(dir, "ferry")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", ferry, "../../cmd/ferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	image, source := disk(t, dir, "source")
	tool(t, "label: gpt\nsize=80M, type=L, name=\"one\"\ntype=L, name=\"two\"\n", "sfdisk", "--quiet", source)
	tool(t, "", "partx", "--add", source)
	var roots []string
	for i, name := range []string{"first", "second"} {
		root := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(root, 0o755))
		part := source + "p" + string(rune('1'+i))
		tool(t, "", "mkfs.ext4", "-q", "-L", name, part)
		tool(t, "", "mount", part, root)
		t.Cleanup(func() { _ = exec.Command("umount", root).Run() })
		tool(t, "", "cp", "-a", "/etc", root)
		roots = append(roots, root)
	}
	tool(t, "", "sync")
	text := tool(t, "", ferry, "discover", "--layout", "--image", image)
	p, err := layout.Parse([]byte(text))
	require.NoError(t, err)
	for i := range roots { // an image says nothing of mounts
		p.Disks[0].Table.Partitions[i].Use.Mounts = []layout.Mount{{Path: roots[i]}}
	}
	plan := filepath.Join(dir, "plan.json")
	made, err := json.Marshal(p)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(plan, made, 0o600))

	_, target := disk(t, dir, "target")
	state := filepath.Join(dir, "state")
	into := []string{"target", "--into", "disks", "--disk", target, "--state", filepath.Join(dir, "target-state")}
	script := tool(t, "", append([]string{ferry}, append(into, "--plan", plan, "--dry-run")...)...)
	require.Contains(t, script, "# ferry writes the gpt table of "+target)
	require.Contains(t, script, "mkfs.ext4 -q -F -U "+p.Disks[0].Table.Partitions[0].Use.UUID+" -L first")
	require.Empty(t, tool(t, "", "wipefs", target), "a dry run writes nothing")

	addr, pair, stop := serve(t, ferry, append(into, "--plan", plan)...)
	tool(t, "", ferry, "migrate", roots[0], roots[1], "--to", addr, "--pair", pair, "--state", state, "--json")
	stop(syscall.SIGKILL)
	require.NoError(t, os.WriteFile(filepath.Join(roots[1], "late"), []byte("late"), 0o600))
	addr, _, stop = serve(t, ferry, append(into, "--listen", addr)...)
	tool(t, "", ferry, "migrate", roots[0], roots[1], "--to", addr, "--state", state, "--json")
	stop(syscall.SIGINT)

	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), target, "it lets go of the disk")
	at := filepath.Join(dir, "at")
	require.NoError(t, os.Mkdir(at, 0o755))
	for i, root := range roots {
		part := target + "p" + string(rune('1'+i))
		require.Equal(t, tool(t, "", "blkid", "-p", "-s", "UUID", "-s", "LABEL", "-s", "PART_ENTRY_UUID", "-s", "PART_ENTRY_NAME", "-o", "value", source+part[len(target):]),
			tool(t, "", "blkid", "-p", "-s", "UUID", "-s", "LABEL", "-s", "PART_ENTRY_UUID", "-s", "PART_ENTRY_NAME", "-o", "value", part))
		tool(t, "", "mount", "-o", "ro", part, at)
		differs := tool(t, "", "rsync", "-aHAXn", "--delete", "--checksum", "--itemize-changes", "--exclude", "/lost+found", root+"/", at+"/")
		tool(t, "", "umount", at)
		require.Empty(t, differs)
	}
}

// disk is a blank loop device with room for partitions, until the test ends.
func disk(t *testing.T, dir, name string) (image, device string) {
	t.Helper()
	image = filepath.Join(dir, name+".img")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 200<<20))
	device = tool(t, "", "losetup", "--find", "--show", image)
	t.Cleanup(func() {
		_ = exec.Command("partx", "--delete", device).Run() // there may be none
		tool(t, "", "losetup", "--detach", device)
	})
	return image, device
}

// serve starts a target; stop ends it by a signal, and it has to end well unless it is killed.
func serve(t *testing.T, ferry string, args ...string) (addr, pair string, stop func(syscall.Signal)) {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	cmd := exec.Command(ferry, append(args, "--json")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = cmd.Wait()
	}
	require.NoError(t, err, "%s", &stderr)
	var said struct{ Addr, Pair string }
	require.NoError(t, json.Unmarshal(line, &said))
	return said.Addr, said.Pair, func(s syscall.Signal) {
		require.NoError(t, cmd.Process.Signal(s))
		err := cmd.Wait()
		if s != syscall.SIGKILL {
			require.NoError(t, err, "%s", &stderr)
		}
	}
}

// tool runs a program, which has to end well, and returns what it prints.
func tool(t *testing.T, in string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(in)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s%s", argv, out, &stderr)
	return strings.TrimSpace(string(out))
}

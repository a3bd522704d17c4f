package machine

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// start runs a machine once and returns its answers.
func start(t *testing.T, kind Kind) Answers {
	if from := os.Getenv("FERRY_LAB_REPLAY"); from != "" {
		return replay(t, filepath.Join(from, string(kind)))
	}
	if os.Getenv("FERRY_LAB") == "" {
		t.Skip("a machine takes minutes: make lab")
	}
	require.Zero(t, os.Getuid(), "needs root for loop devices and mounts")
	require.Empty(t, Tools(), "these are not installed")
	dir := t.TempDir()
	ferry := filepath.Join(dir, "built")
	build := exec.Command("go", "build", "-o", ferry, "../../cmd/ferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	began := time.Now()
	a, err := Run(ctx, kind, dir, ferry)
	if keep := os.Getenv("FERRY_LAB_KEEP"); keep != "" {
		require.NoError(t, a.save(filepath.Join(keep, string(kind))))
	}
	console, _ := os.ReadFile(filepath.Join(dir, "console.log"))
	if err != nil || len(a) == 0 {
		t.Logf("%s", console[max(0, len(console)-8000):])
	}
	require.NoError(t, err)
	require.NotEmpty(t, a)
	t.Logf("%d answers after %s", len(a), time.Since(began).Round(time.Second))
	require.Empty(t, string(a["errors"]), "what went wrong inside")
	return a
}

// replay reads answers that were kept.
func replay(t *testing.T, dir string) Answers {
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	a := Answers{}
	for _, f := range files {
		a[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
	}
	return a
}

// save keeps the answers for a person.
func (a Answers) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range a {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// TestBIOS has everything that storage can be made of.
func TestBIOS(t *testing.T) {
	a := start(t, BIOS)
	s := decode[*inventory.Server](t, a, "discover.json")
	compare(t, a, s)
	require.Equal(t, "/dev/vda", s.Boot.SystemDisk)
	require.True(t, s.Boot.LoaderBIOS)
	kinds := map[inventory.DiskKind]bool{}
	for _, k := range s.Disks {
		kinds[k.Kind] = true
	}
	for _, k := range []inventory.DiskKind{inventory.KindDisk, inventory.KindMultipath, inventory.KindRAID, inventory.KindCrypt} {
		require.True(t, kinds[k], k)
	}
	t.Run("point", func(t *testing.T) { onePoint(t, a) })
	check := string(a["check.txt"])
	for _, code := range []string{"FERRY-LVM-THIN", "FERRY-LVM-SNAPSHOT", "FERRY-LVM-LAYOUT", "FERRY-RAID", "FERRY-ENCRYPTED", "FERRY-BTRFS-DEVICES", "FERRY-BIND-MOUNT"} {
		require.Contains(t, check, code)
	}
	for _, code := range []string{"FERRY-DUPLICATE-UUID", "FERRY-MULTIPATH", "FERRY-MAPPER", "FERRY-LVM-DUPLICATE", "FERRY-CONTENT", "FERRY-AMBIGUOUS"} {
		require.NotContains(t, check, code)
	}
}

// onePoint holds copies made by way of LVM snapshots, and of a frozen root, to being one instant of what two files held that are written in turn; agents
// killed meanwhile leave nothing frozen, and snapshots that the next run removes.
func onePoint(t *testing.T, a Answers) {
	for _, name := range []string{"thick", "thin", "root", "again"} {
		lines := strings.Split(strings.TrimSpace(string(a["point-"+name+".txt"])), "\n")
		require.Len(t, lines, 3, "%s: %s", name, a["point.err"])
		var said struct {
			OK         bool
			Consistent string
			Frozen     float64 `json:"frozen_seconds"`
		}
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &said), name)
		require.True(t, said.OK, "%s: %s", name, a["point.err"])
		require.Equal(t, "filesystem", said.Consistent, name)
		require.Equal(t, name == "root", said.Frozen > 0, name)
		first, err := strconv.Atoi(lines[1])
		require.NoError(t, err)
		second, err := strconv.Atoi(lines[2])
		require.NoError(t, err)
		require.Positive(t, first, name)
		require.Contains(t, []int{second, second + 1}, first, name)
		t.Logf("%s: %d and %d lines, frozen for %.3fs", name, first, second, said.Frozen)
	}
	require.Equal(t, "5\n", string(a["point-kills.txt"]), "writes to the root after a kill")
	require.Equal(t, "1\n", string(a["point-left.txt"]), "a kill leaves its snapshot")
	require.Equal(t, "0\n0\n0\n", string(a["point-swept.txt"]), "volumes, mounts and notes that are left")
}

// TestUEFI has its root in a subvolume.
func TestUEFI(t *testing.T) {
	a := start(t, UEFI)
	s := decode[*inventory.Server](t, a, "discover.json")
	compare(t, a, s)
	require.Equal(t, []any{"UEFI", true, "/dev/vda"}, []any{s.Boot.Firmware, s.Boot.LoaderUEFI, s.Boot.SystemDisk})
}

// compare holds what ferry says against everybody else.
func compare(t *testing.T, a Answers, s *inventory.Server) {
	require.Empty(t, s.Missing)
	for name, like := range map[string]func(*testing.T, Answers, *inventory.Server){
		"lsblk": likeLsblk, "lvm": likeLVM, "btrfs": likeBtrfs, "mounts": likeMounts, "host": likeHost, "nobody": likeNobody,
	} {
		t.Run(name, func(t *testing.T) { like(t, a, s) })
	}
	var body smsapi.RegisterSource
	require.NoError(t, smsapi.Decode(a["sms.json"], &body))
	check := string(a["check.txt"])
	require.NotContains(t, check, "ERROR", check)
	for _, code := range []string{"FERRY-PERMISSION", "FERRY-NOT-SEEN", "FERRY-VIRTIO"} {
		require.Equal(t, code == "FERRY-VIRTIO", strings.Contains(check, code), code)
	}
}

// likeNobody: without privileges the devices and mounts are the same, and what is missing is named.
func likeNobody(t *testing.T, a Answers, s *inventory.Server) {
	n := decode[*inventory.Server](t, a, "nobody.json")
	require.Len(t, n.Disks, len(s.Disks))
	for i, k := range n.Disks {
		require.Equal(t, []any{s.Disks[i].Name, s.Disks[i].Size, s.Disks[i].Kind}, []any{k.Name, k.Size, k.Kind})
	}
	require.Len(t, n.Mounts, len(s.Mounts))
	require.NotEmpty(t, n.Missing)
	for _, m := range n.Missing {
		require.Contains(t, m.Reason, "permission denied", m.Subject)
	}
}

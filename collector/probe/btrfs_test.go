package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBtrfsLikeBtrfs makes filesystems with subvolumes by the real driver, and reads them from the unmounted devices.
func TestBtrfsLikeBtrfs(t *testing.T) {
	tool(t, "mkfs.btrfs", "btrfs", "mount")
	for _, c := range []struct {
		name    string
		args    []string
		devices int
	}{
		{"single", []string{"-d", "single", "-m", "dup"}, 1},
		{"mixed", []string{"-M"}, 1},
		{"raid1", []string{"-d", "raid1", "-m", "raid1"}, 2},
		{"raid0", []string{"-d", "raid0", "-m", "raid0"}, 3},
		{"raid10", []string{"-d", "raid10", "-m", "raid10"}, 4},
		{"raid5", []string{"-d", "raid5", "-m", "raid5"}, 3},
		{"raid6", []string{"-d", "raid6", "-m", "raid6"}, 4},
		{"raid1c3", []string{"-d", "raid1c3", "-m", "raid1c3"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var devices []string
			for i := 0; i < c.devices; i++ {
				devices = append(devices, loop(t, blank(t, 256<<20), 512))
			}
			run1(t, "mkfs.btrfs", append(append([]string{"-q", "-f", "-L", "lab"}, c.args...), devices...)...)
			list := populate(t, devices)

			var members []BtrfsDevice
			for _, name := range devices {
				f, size := open(t, name)
				members = append(members, BtrfsDevice{Name: name, R: f, Size: size})
			}
			got, err := Btrfs(members)
			require.NoError(t, err)
			require.Empty(t, got.Problems)
			require.Equal(t, c.devices, got.NumDevices)
			var lines []string
			for _, v := range got.Subvolumes {
				lines = append(lines, fmt.Sprintf("%d %d %s %s %s", v.ID, v.Parent, orDash(v.ParentUUID), v.UUID, v.Path))
				require.Equal(t, strings.Contains(v.Path, "snap"), v.Snapshot, v.Path)
				require.Equal(t, strings.Contains(v.Path, "readonly"), v.ReadOnly, v.Path)
			}
			require.Equal(t, list, lines)
			require.EqualValues(t, 257, got.DefaultSubvolume)

			show := run1(t, "btrfs", "inspect-internal", "dump-tree", "-t", "chunk", devices[0])
			profiles := map[string]bool{}
			for _, m := range regexp.MustCompile(`type ([A-Z][A-Z|0-9a-z]+)`).FindAllStringSubmatch(show, -1) {
				profiles[m[1]] = true
			}
			require.Len(t, got.Profiles, len(profiles), "%v %v", got.Profiles, profiles)
			for _, p := range got.Profiles {
				want := strings.ReplaceAll(strings.ToUpper(p.Kind), "+", "|")
				if p.Profile != "single" {
					want += "|" + p.Profile
				}
				require.True(t, profiles[want] || profiles[want+"|single"], "%s in %v", want, profiles)
			}
			if c.devices > 1 { // the facts of the superblock survive a missing device
				part, err := Btrfs(members[:1])
				require.NoError(t, err)
				require.Equal(t, got.UUID, part.UUID)
			}
		})
	}
}

// populate makes nested subvolumes and snapshots and returns them as `btrfs subvolume list` shows them.
func populate(t *testing.T, devices []string) (list []string) {
	dir := t.TempDir()
	options := "device=" + strings.Join(devices, ",device=")
	run1(t, "mount", "-t", "btrfs", "-o", options, devices[0], dir)
	defer run1(t, "umount", dir)
	run1(t, "btrfs", "-q", "subvolume", "create", dir+"/@home")
	run1(t, "btrfs", "-q", "subvolume", "create", dir+"/@")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "@/deep/er dir"), 0o755))
	run1(t, "btrfs", "-q", "subvolume", "create", dir+"/@/deep/er dir/nested")
	run1(t, "btrfs", "-q", "subvolume", "snapshot", dir+"/@", dir+"/@snap1")
	run1(t, "btrfs", "-q", "subvolume", "snapshot", "-r", dir+"/@home", dir+"/@home/snap-readonly")
	for i := 0; i < 300; i++ { // enough for the trees to have levels
		require.NoError(t, os.WriteFile(filepath.Join(dir, "@home", fmt.Sprintf("file-with-a-long-name-%060d", i)), []byte("x"), 0o600))
	}
	run1(t, "btrfs", "subvolume", "set-default", "257", dir)
	run1(t, "btrfs", "filesystem", "sync", dir)
	lines := strings.Split(strings.TrimSpace(run1(t, "btrfs", "subvolume", "list", "-p", "-u", "-q", dir)), "\n")
	re := regexp.MustCompile(`ID (\d+) gen \d+ parent (\d+) top level \d+ parent_uuid (\S+) +uuid (\S+) path (.*)`)
	for _, line := range lines {
		m := re.FindStringSubmatch(line)
		require.NotNil(t, m, line)
		list = append(list, strings.Join(m[1:], " "))
	}
	return list
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

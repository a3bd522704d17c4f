package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine makes a tree of sys and proc: two disks, one twice by multipath with a partition of device-mapper; a RAID and a volume group of two
// volumes on partitions of the first; a Btrfs on the RAID and another disk; an encrypted volume.
func machine(t *testing.T) *host {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/sys/kernel/random/boot_id": "b00t",
		"proc/swaps":                     "Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n",
		"proc/self/mountinfo": `20 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw
21 20 8:1 / /boot ro shared:2 - ext4 /dev/sda1 rw
22 20 0:40 /@home /home rw - btrfs /dev/md0 rw
23 20 0:40 /@srv /srv\040all rw - btrfs /dev/md0 rw
24 20 0:5 / /proc rw - proc proc rw
25 20 253:3 / /data rw - xfs /dev/mapper/mpatha-part1 rw
`,
		"sda/dev": "8:0", "sda/size": "1000000", "sda/device/wwid": "t10.ATA QEMU", "sda/serial": "S1", "sda/device/model": "QEMU",
		"sda/sda1/dev": "8:1", "sda/sda1/size": "1000", "sda/sda1/start": "2048", "sda/sda1/partition": "1",
		"sda/sda2/dev": "8:2", "sda/sda2/size": "500000", "sda/sda2/start": "4096", "sda/sda2/partition": "2",
		"sda/sda3/dev": "8:3", "sda/sda3/size": "1000", "sda/sda3/start": "700000", "sda/sda3/partition": "3",
		"sdb/dev": "8:16", "sdb/size": "2000", "sdb/device/wwid": "naa.600",
		"sdc/dev": "8:32", "sdc/size": "2000", "sdc/device/wwid": "naa.600",
		"sdd/dev": "8:48", "sdd/size": "3000", "sdd/diskseq": "7",
		"md0/dev": "9:0", "md0/size": "900", "md0/md/uuid": "m", "md0/slaves/sda3/x": "",
		"dm-0/dev": "253:0", "dm-0/size": "1000", "dm-0/dm/name": "vg0-root", "dm-0/dm/uuid": "LVM-root", "dm-0/slaves/sda2/x": "",
		"dm-1/dev": "253:1", "dm-1/size": "1000", "dm-1/dm/name": "vg0-swap", "dm-1/dm/uuid": "LVM-swap", "dm-1/slaves/sda2/x": "",
		"dm-2/dev": "253:2", "dm-2/size": "2000", "dm-2/dm/name": "mpatha", "dm-2/dm/uuid": "mpath-600", "dm-2/slaves/sdb/x": "", "dm-2/slaves/sdc/x": "",
		"dm-3/dev": "253:3", "dm-3/size": "1000", "dm-3/dm/name": "mpatha-part1", "dm-3/dm/uuid": "part1-mpath-600", "dm-3/slaves/dm-2/x": "",
		"sys/fs/btrfs/u-u-i-d/devices/md0": "", "sys/fs/btrfs/u-u-i-d/devices/sdd": "", "sys/fs/btrfs/features/x": "",
	} {
		if !strings.HasPrefix(name, "proc/") && !strings.HasPrefix(name, "sys/") {
			name = "sys/block/" + name
		}
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	h, err := readHost(root)
	require.NoError(t, err)
	return h
}

func (h *host) identity(name string) Identity { return Identity{Pieces: h.pieces(h.names[name], 0)} }

func TestWhichLiesOnWhich(t *testing.T) {
	h := machine(t)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"sda", "sda1", true}, {"sda1", "sda2", false}, {"sda", "sdb", false},
		{"sda2", "dm-0", true}, {"sda", "dm-0", true}, {"dm-0", "dm-1", false}, {"sda1", "dm-0", false},
		{"sda3", "md0", true}, {"sda", "md0", true}, {"sda2", "md0", false},
		{"sdb", "sdc", true}, {"sdb", "dm-2", true}, {"sdc", "dm-2", true}, {"sdc", "dm-3", true}, {"dm-2", "dm-3", true}, {"dm-3", "dm-0", false},
	} {
		require.Equal(t, c.want, h.identity(c.a).Overlaps(h.identity(c.b)), "%s and %s", c.a, c.b)
		require.Equal(t, c.want, h.identity(c.b).Overlaps(h.identity(c.a)), "%s and %s", c.b, c.a)
	}
	require.False(t, Identity{}.Overlaps(h.identity("sda")))

	// The same disk on another machine, and another disk of the same number there.
	other := machine(t)
	other.boot = "other"
	require.True(t, h.identity("dm-2").Overlaps(other.identity("sdb")))
	require.True(t, h.identity("dm-3").Overlaps(other.identity("dm-2")))
	require.True(t, h.identity("dm-2").Overlaps(other.identity("dm-2")), "multipath is the same bytes as its disks")
	require.False(t, h.identity("sda").Overlaps(other.identity("sda")))
}

func TestKeysLast(t *testing.T) {
	h := machine(t)
	key := func(number string) string {
		n := h.numbers[number]
		return h.deviceKey(n, h.pieces(n, 0))
	}
	require.Equal(t, "serial:QEMU:S1:0+512000000", key("8:0"))
	require.Equal(t, "serial:QEMU:S1:1048576+512000", key("8:1"))
	require.Equal(t, "wwn:naa.600:0+1024000", key("8:16"))
	require.Equal(t, "dm:LVM-root:0+512000", key("253:0"))
	require.Equal(t, "device 8:48/7@b00t:0+1536000", key("8:48"))
}

func TestMountsOfADisk(t *testing.T) {
	h := machine(t)
	mounts := func(name string) (out []string) {
		list, err := h.mountsOn(h.identity(name))
		require.NoError(t, err)
		for _, m := range list {
			out = append(out, m.String())
		}
		return out
	}
	require.Equal(t, []string{"/dev/mapper/vg0-root at /", "/dev/md0 at /home", "/dev/sda1 at /boot"}, mounts("sda"))
	require.Equal(t, []string{"/dev/sda1 at /boot"}, mounts("sda1"))
	require.Equal(t, []string{"/dev/mapper/vg0-root at /"}, mounts("sda2"))
	require.Equal(t, []string{"/dev/md0 at /home"}, mounts("md0"))
	require.Equal(t, []string{"/dev/sdd at /home"}, mounts("sdd"), "the second device of a Btrfs")
	require.Equal(t, []string{"/dev/mapper/mpatha-part1 at /data"}, mounts("sdc"))
	require.Empty(t, mounts("dm-1"))
	list, err := h.mountsOn(h.identity("sda1"))
	require.NoError(t, err)
	require.Equal(t, []Mount{{Dir: "/boot", Type: "ext4", Device: "/dev/sda1", ReadOnly: false}}, list)
}

package collector

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// TestActivate has the layers that lvm2 makes: a volume with a snapshot has three devices, a pool two, its data one with a suffix.
func TestActivate(t *testing.T) {
	id := func(c string) string { return strings.Repeat(c, 6) + "-" + strings.Repeat(c, 26) }
	uuid := func(c, suffix string) string {
		return "LVM-" + strings.Repeat("g", 32) + strings.Repeat(c, 32) + suffix
	}
	groups := []inventory.VolumeGroup{{Name: "vg", UUID: id("g"), Logical: []inventory.LogicalVolume{
		{Name: "data", UUID: id("d")}, {Name: "pool", UUID: id("p")}, {Name: "pool_tdata", UUID: id("t")}, {Name: "off", UUID: id("o")},
	}}}
	list := []mapped{
		{uuid: uuid("d", "-real"), number: "253:1"}, {uuid: uuid("d", ""), number: "253:2"}, {uuid: uuid("p", "-tpool"), number: "253:3"},
		{uuid: uuid("p", ""), number: "253:4"}, {uuid: uuid("t", "-tdata"), number: "253:5"}, {uuid: "CRYPT-x", number: "253:6"}, {uuid: "LVM-short"},
	}
	activate(groups, list)
	var numbers []string
	for _, lv := range groups[0].Logical {
		require.Equal(t, lv.Number != "", lv.Active)
		numbers = append(numbers, lv.Number)
	}
	require.Equal(t, []string{"253:2", "253:4", "253:5", ""}, numbers)
}

func TestSplitMapper(t *testing.T) {
	for name, want := range map[string][2]string{
		"vg0-root": {"vg0", "root"}, "my--vg-lin--ear": {"my-vg", "lin-ear"}, "plain": {"plain", "plain"}, "a--b": {"a--b", "a--b"},
	} {
		vg, lv := splitMapper(name)
		require.Equal(t, want, [2]string{vg, lv})
	}
}

// TestUnreadGroups: volumes whose metadata may not be read are there by what the kernel knows.
func TestUnreadGroups(t *testing.T) {
	id := func(c string) string { return "LVM-" + strings.Repeat("g", 32) + strings.Repeat(c, 32) }
	got := unreadGroups(nil, []mapped{
		{name: "vg-root", uuid: id("r"), node: "/dev/mapper/vg-root", number: "253:0", size: 5, slaves: []string{"/dev/sda2"}},
		{name: "vg-data", uuid: id("d"), node: "/dev/mapper/vg-data", number: "253:1", size: 6, slaves: []string{"/dev/sda2", "/dev/sdb1"}},
		{name: "vg-pool_tdata", node: "/dev/mapper/vg-pool_tdata", uuid: id("p") + "-tdata", slaves: []string{"/dev/sda2"}},
		{name: "vg-pool", uuid: id("q") + "-tpool", slaves: []string{"/dev/mapper/vg-pool_tdata"}},
		{name: "vg-r_rimage_0", uuid: id("i")},
		{name: "home", uuid: "CRYPT-LUKS2-x"},
	})
	require.Len(t, got, 1)
	require.Equal(t, []inventory.PhysicalVolume{{Device: "/dev/sda2"}, {Device: "/dev/sdb1"}}, got[0].Physical)
	require.Len(t, got[0].Logical, 5)
	for _, lv := range got[0].Logical {
		require.Equal(t, lv.Name != "root" && lv.Name != "data", lv.Internal, lv.Name)
	}
	require.NotEmpty(t, got[0].Problems)
	known := []inventory.VolumeGroup{{UUID: strings.Repeat("g", 6) + "-" + strings.Repeat("g", 26)}}
	require.Len(t, unreadGroups(known, []mapped{{name: "vg-root", uuid: id("r")}}), 1)
}

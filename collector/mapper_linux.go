package collector

import (
	"bytes"
	"encoding/binary"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// mapped is a device-mapper device that is not a disk: a logical volume, or a partition of a multipath disk.
type mapped struct {
	name, uuid, node, number string
	size                     int64
	holders, slaves          []string
}

// activate says which logical volumes are active, from the device-mapper devices that the kernel has. Their UUID is that of the group and of
// the volume; layers that LVM puts below a volume add a suffix, and the volumes inside a pool have nothing but such a layer.
func activate(groups []inventory.VolumeGroup, list []mapped) {
	const prefix = len("LVM-") + 64
	byUUID := map[string]mapped{}
	for _, m := range list {
		if len(m.uuid) < prefix {
			continue
		}
		id := m.uuid[:prefix]
		if _, seen := byUUID[id]; !seen || len(m.uuid) == prefix {
			byUUID[id] = m
		}
	}
	for g := range groups {
		for l := range groups[g].Logical {
			lv := &groups[g].Logical[l]
			if m, ok := byUUID["LVM-"+strings.ReplaceAll(groups[g].UUID+lv.UUID, "-", "")]; ok {
				lv.Active, lv.Number, lv.Holders = true, m.number, m.holders
			}
		}
	}
}

// internalVolume are the names that LVM gives to volumes of its own (lvm2/lib/metadata/lv_manip.c).
var internalVolume = regexp.MustCompile(`_([rm]image|rmeta)_\d+$|_(mlog|[tc]data|[tc]meta|corig|cvol|vdata|pmspare)$`)

// unreadGroups makes groups of the active logical volumes that no metadata was found for, as when the devices may not be read. Their
// names and sizes, and what they lie on, are all that the kernel knows.
func unreadGroups(groups []inventory.VolumeGroup, list []mapped) []inventory.VolumeGroup {
	known := map[string]bool{}
	for _, vg := range groups {
		known[strings.ReplaceAll(vg.UUID, "-", "")] = true
	}
	layer := map[string]bool{} // devices that others of LVM lie on
	for _, m := range list {
		layer[m.node] = true
	}
	at := map[string]int{}
	for _, m := range list {
		id, ok := strings.CutPrefix(m.uuid, "LVM-")
		if !ok || len(id) < 64 || known[id[:32]] {
			continue
		}
		vgName, lvName := splitMapper(m.name)
		i, seen := at[id[:32]]
		if !seen {
			i = len(groups)
			at[id[:32]] = i
			groups = append(groups, inventory.VolumeGroup{
				Name: vgName, UUID: id[:32], Status: []string{}, Physical: []inventory.PhysicalVolume{}, Logical: []inventory.LogicalVolume{},
				Problems: []string{unreadMetadata},
			})
		}
		vg := &groups[i]
		vg.Logical = append(vg.Logical, inventory.LogicalVolume{
			Name: lvName, UUID: id[32:64], Device: m.node, Number: m.number, Active: true, Internal: len(id) > 64 || internalVolume.MatchString(lvName), Size: m.size, Status: []string{},
			Segments: []inventory.Segment{}, Holders: m.holders,
		})
		for _, slave := range m.slaves {
			if !layer[slave] && !slices.ContainsFunc(vg.Physical, func(pv inventory.PhysicalVolume) bool { return pv.Device == slave }) {
				vg.Physical = append(vg.Physical, inventory.PhysicalVolume{Device: slave})
			}
		}
	}
	return groups
}

// splitMapper undoes probe.MapperName: the single hyphen is between the names.
func splitMapper(name string) (vg, lv string) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] == '-' && name[i-1] != '-' && name[i+1] != '-' {
			vg, lv = name[:i], name[i+1:]
			return strings.ReplaceAll(vg, "--", "-"), strings.ReplaceAll(lv, "--", "-")
		}
	}
	return name, name
}

// DM_TABLE_STATUS of linux/include/uapi/linux/dm-ioctl.h, and the flag without which asking a thin pool makes it commit.
const (
	dmTableStatus = 0xC138FD0C
	dmHeader      = 312
	dmNoFlush     = 1 << 11
)

// fillPercent asks the kernel how full active thin pools and snapshots are. Without the rights for it nothing is known.
func fillPercent(groups []inventory.VolumeGroup, list []mapped) {
	control, err := os.Open("/dev/mapper/control")
	if err != nil {
		return
	}
	defer control.Close()
	for g := range groups {
		for l := range groups[g].Logical {
			lv := &groups[g].Logical[l]
			if !lv.Active || lv.Kind != "thin-pool" && lv.Kind != "snapshot" {
				continue
			}
			for _, m := range list {
				if m.number == lv.Number {
					lv.FillPercent = dmFill(dmStatus(control, m.name))
				}
			}
		}
	}
}

// dmStatus returns the type of a device's first target and its status line; both are empty when the kernel would not tell.
func dmStatus(control *os.File, name string) (kind, status string) {
	le := binary.LittleEndian
	arg := make([]byte, 16<<10)
	le.PutUint32(arg[0:], 4) // version 4.0.0
	le.PutUint32(arg[12:], uint32(len(arg)))
	le.PutUint32(arg[16:], dmHeader)
	le.PutUint32(arg[28:], dmNoFlush)
	if len(name) >= 128 {
		return "", ""
	}
	copy(arg[48:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), dmTableStatus, uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
		return "", ""
	}
	at := le.Uint32(arg[16:])
	if le.Uint32(arg[20:]) == 0 || at > uint32(len(arg)-40) {
		return "", ""
	}
	spec := arg[at:] // struct dm_target_spec: start, length, status, next, type
	return cString(spec[24:40]), cString(spec[40:])
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// dmFill reads how full a target is: "transaction used/total used/total …" of a thin pool (the second pair is data), "used/total
// metadata" of a snapshot. nil when the line says something else, as that of a broken target does.
func dmFill(kind, status string) *float64 {
	fields, at := strings.Fields(status), 0
	if kind == "thin-pool" {
		at = 2
	}
	if len(fields) <= at {
		return nil
	}
	used, total, ok := strings.Cut(fields[at], "/")
	u, err1 := strconv.ParseFloat(used, 64)
	n, err2 := strconv.ParseFloat(total, 64)
	if !ok || err1 != nil || err2 != nil || n <= 0 {
		return nil
	}
	percent := u / n * 100
	return &percent
}

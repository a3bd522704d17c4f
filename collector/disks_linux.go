package collector

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// blockClass is what the kernel shows of every block device (linux/Documentation/ABI/stable/sysfs-block).
const blockClass = "sys/block"

// devices are the block devices as the kernel lists them, before anything was read from them.
type devices struct {
	disks  []inventory.Disk
	mapped []mapped
	node   map[string]string // kernel name → device name
}

// listDevices reads the kernel's list of block devices. Devices without a size, of which the kernel keeps many in reserve, are left out.
func listDevices(r root) devices {
	d := devices{node: map[string]string{}}
	for _, name := range r.names(blockClass) {
		dir := filepath.Join(blockClass, name)
		d.node[name] = "/dev/" + strings.ReplaceAll(name, "!", "/")
		if dm := r.read(dir + "/dm/name"); dm != "" {
			d.node[name] = "/dev/mapper/" + dm
		}
		for _, sub := range r.names(dir) {
			if strings.HasPrefix(sub, name) {
				d.node[sub] = "/dev/" + strings.ReplaceAll(sub, "!", "/")
			}
		}
	}
	names := r.names(blockClass)
	slices.SortStableFunc(names, asKernel)
	found := make([]devices, len(names))
	inParallel(len(names), 8, func(i int) {
		found[i].node = d.node
		found[i].add(r, names[i])
	})
	for _, f := range found {
		d.disks, d.mapped = append(d.disks, f.disks...), append(d.mapped, f.mapped...)
	}
	d.foldPaths()
	return d
}

// asKernel orders devices of one driver as they were found: sdb before sdaa, loop2 before loop10.
func asKernel(a, b string) int {
	return cmp.Or(cmp.Compare(driverOf(a), driverOf(b)), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func (d *devices) add(r root, name string) {
	dir := filepath.Join(blockClass, name)
	size := r.number(dir+"/size") * 512
	if size <= 0 || r.read(dir+"/hidden") == "1" {
		return
	}
	if id := r.read(dir + "/dm/uuid"); strings.HasPrefix(id, "LVM-") || strings.HasPrefix(id, "part") {
		d.mapped = append(d.mapped, mapped{
			name: r.read(dir + "/dm/name"), uuid: id, node: d.node[name], number: r.read(dir + "/dev"), size: size,
			holders: d.named(r.names(dir + "/holders")), slaves: d.named(r.names(dir + "/slaves")),
		})
		return
	}
	k := inventory.Disk{
		Name: d.node[name], Number: r.read(dir + "/dev"), Size: size,
		LogicalSector: max(r.number(dir+"/queue/logical_block_size"), 512), PhysicalSector: max(r.number(dir+"/queue/physical_block_size"), 512),
		Rotational: r.read(dir+"/queue/rotational") == "1", Removable: r.read(dir+"/removable") == "1", ReadOnly: r.read(dir+"/ro") == "1",
		Slaves: d.named(r.names(dir + "/slaves")), Holders: d.named(r.names(dir + "/holders")), Partitions: []inventory.Partition{},
	}
	k.Kind, k.Detail = kindOf(r, dir, name)
	k.ReadWait = readWait(r.read(dir + "/stat"))
	identify(r, dir, name, &k)
	for _, sub := range r.names(dir) {
		if index := r.number(filepath.Join(dir, sub, "partition")); index > 0 && strings.HasPrefix(sub, name) {
			at := filepath.Join(dir, sub)
			k.Partitions = append(k.Partitions, inventory.Partition{
				Index: int(index), Name: d.node[sub], Number: r.read(at + "/dev"), Active: true,
				Start: r.number(at+"/start") * 512, Size: r.number(at+"/size") * 512, Holders: d.named(r.names(at + "/holders")),
			})
		}
	}
	sort.Slice(k.Partitions, func(i, j int) bool { return k.Partitions[i].Index < k.Partitions[j].Index })
	d.disks = append(d.disks, k)
}

// readWait reads the statistics of a device (linux/Documentation/block/stat.rst): reads are the first number, the milliseconds
// they took the fourth. It returns milliseconds for each read, to a hundredth.
func readWait(stat string) float64 {
	f := strings.Fields(stat)
	if len(f) < 4 {
		return 0
	}
	reads, err1 := strconv.ParseUint(f[0], 10, 64)
	took, err2 := strconv.ParseUint(f[3], 10, 64)
	if err1 != nil || err2 != nil || reads == 0 {
		return 0
	}
	return math.Round(float64(took)/float64(reads)*100) / 100
}

// named turns kernel names into device names.
func (d *devices) named(names []string) (out []string) {
	for _, n := range names {
		if node := d.node[n]; node != "" {
			out = append(out, node)
		} else {
			out = append(out, "/dev/"+n)
		}
	}
	return out
}

// kindOf tells the kinds of device apart by the driver's names and attributes.
func kindOf(r root, dir, name string) (kind inventory.DiskKind, detail string) {
	switch {
	case r.exists(dir + "/dm"):
		detail = r.read(dir + "/dm/name")
		switch id := r.read(dir + "/dm/uuid"); {
		case strings.HasPrefix(id, "mpath-"):
			return inventory.KindMultipath, detail
		case strings.HasPrefix(id, "CRYPT-"):
			return inventory.KindCrypt, detail
		}
		return inventory.KindMapper, detail
	case r.exists(dir + "/md"):
		return inventory.KindRAID, r.read(dir + "/md/level")
	case strings.HasPrefix(name, "loop"):
		return inventory.KindLoop, r.read(dir + "/loop/backing_file")
	case strings.HasPrefix(name, "zram"):
		return inventory.KindZRAM, ""
	case strings.HasPrefix(name, "sr"), r.read(dir+"/device/type") == "5":
		return inventory.KindCDROM, ""
	case strings.HasPrefix(name, "fd"):
		return inventory.KindFloppy, ""
	case strings.HasPrefix(name, "ram"), strings.HasPrefix(name, "pmem"), strings.HasPrefix(name, "mtdblock"):
		return inventory.KindMemory, ""
	case strings.HasPrefix(name, "nbd"), strings.HasPrefix(name, "rbd"), strings.HasPrefix(name, "drbd"):
		return inventory.KindNetwork, ""
	case strings.HasPrefix(name, "bcache"):
		return inventory.KindMapper, ""
	default:
		return inventory.KindDisk, ""
	}
}

// identify fills in who made the disk and how it is attached. Where an attribute lies depends on the driver.
func identify(r root, dir, name string, k *inventory.Disk) {
	first := func(files ...string) string {
		for _, f := range files {
			if v := r.read(filepath.Join(dir, f)); v != "" {
				return v
			}
		}
		return ""
	}
	k.Vendor, k.Model = first("device/vendor"), first("device/model")
	if strings.HasPrefix(k.Vendor, "0x") { // virtio shows its PCI number there
		k.Vendor = ""
	}
	k.Serial, k.WWN = first("device/serial", "serial"), first("wwid", "device/wwid")
	if k.Serial == "" {
		k.Serial = vitalProduct(r, filepath.Join(dir, "device/vpd_pg80"))
	}
	if k.Kind != inventory.KindDisk {
		return
	}
	link, _ := os.Readlink(r.path(dir))
	for _, t := range []struct{ sign, transport string }{
		{"/nvme", "nvme"}, {"/usb", "usb"}, {"/ata", "sata"}, {"/virtio", "virtio"}, {"/vbd-", "xen"}, {"/mmc", "mmc"},
		{"/vmbus", "hyperv"}, {"VMBUS", "hyperv"}, {"/iscsi", "iscsi"}, {"/session", "iscsi"}, {"/rport-", "fc"}, {"/host", "scsi"},
	} {
		if strings.Contains(link, t.sign) {
			k.Transport = t.transport
			break
		}
	}
	if k.Transport == "" {
		for prefix, transport := range map[string]string{"vd": "virtio", "xvd": "xen", "nvme": "nvme", "mmcblk": "mmc", "sd": "scsi"} {
			if strings.HasPrefix(name, prefix) {
				k.Transport = transport
			}
		}
	}
}

// vitalProduct reads the serial number that a SCSI disk gives in its page 80: text after a header of four bytes.
func vitalProduct(r root, file string) string {
	b, err := r.bytes(file)
	if err != nil || len(b) <= 4 {
		return ""
	}
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, string(b[4:])))
}

// foldPaths makes one disk of what is one disk: the paths of a multipath device disappear into it, and so does a disk that is
// seen twice without multipath.
func (d *devices) foldPaths() {
	at := map[string]int{}
	for i := range d.disks {
		at[d.disks[i].Name] = i
	}
	drop := map[int]bool{}
	for i := range d.disks {
		k := &d.disks[i]
		if k.Kind != inventory.KindMultipath {
			continue
		}
		for _, s := range k.Slaves {
			if j, ok := at[s]; ok {
				p := d.disks[j]
				k.Paths, drop[j] = append(k.Paths, s), true
				k.Vendor, k.Model, k.Serial, k.WWN, k.Transport, k.Rotational = p.Vendor, p.Model, p.Serial, p.WWN, p.Transport, p.Rotational
			}
		}
		k.Partitions = append(k.Partitions, d.kpartx(k)...)
	}
	first := map[string]int{}
	for i := range d.disks {
		k := &d.disks[i]
		if drop[i] || k.Kind != inventory.KindDisk || k.WWN == "" {
			continue
		}
		id := k.WWN + "/" + strconv.FormatInt(k.Size, 10)
		j, seen := first[id]
		if !seen {
			first[id] = i
			continue
		}
		if len(d.disks[j].Paths) == 0 {
			d.disks[j].Paths = []string{d.disks[j].Name}
		}
		d.disks[j].Paths, drop[i] = append(d.disks[j].Paths, k.Name), true
	}
	kept := d.disks[:0]
	for i, k := range d.disks {
		if !drop[i] {
			kept = append(kept, k)
		}
	}
	d.disks = kept
}

// kpartx finds the partitions of a multipath disk: device-mapper devices whose UUID is partN- and the UUID of the disk. Where they
// lie is known only to the partition table.
func (d *devices) kpartx(k *inventory.Disk) (out []inventory.Partition) {
	for _, m := range d.mapped {
		index, of, ok := strings.Cut(strings.TrimPrefix(m.uuid, "part"), "-")
		if n, err := strconv.Atoi(index); ok && err == nil && n > 0 && strings.HasPrefix(of, "mpath-") && strings.HasPrefix(m.name, k.Detail) {
			out = append(out, inventory.Partition{Index: n, Name: m.node, Number: m.number, Size: m.size, Holders: m.holders, Active: true})
		}
	}
	return out
}

package probe

import (
	"fmt"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// maxLogical bounds the chain of an extended partition; the kernel stops at 256 minors of a disk at the latest.
const maxLogical = 128

// mbrEntry is one of the four entries of a boot record, in sectors.
type mbrEntry struct {
	status, kind byte
	start, count uint32
}

// mbrTable is a decoded master boot record.
type mbrTable struct {
	entries    [4]mbrEntry
	id         uint32
	bootCode   bool
	protective bool // an entry of type EE announces a GPT
}

// readMBR decodes the first sector; nil when it lacks the boot signature.
func readMBR(m *image) *mbrTable {
	b := m.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xAA {
		return nil
	}
	t := &mbrTable{entries: mbrEntries(b), id: le.Uint32(b[440:]), bootCode: !isZero(b[:440])}
	for _, e := range t.entries {
		t.protective = t.protective || e.kind == 0xEE
	}
	return t
}

func mbrEntries(b []byte) (out [4]mbrEntry) {
	for i := range out {
		e := b[446+16*i:]
		out[i] = mbrEntry{status: e[0], kind: e[4], start: le.Uint32(e[8:]), count: le.Uint32(e[12:])}
	}
	return out
}

// used lists the indexes of entries that describe a partition.
func (t *mbrTable) used() (out []int) {
	for i, e := range t.entries {
		if e.kind != 0 && e.count != 0 {
			out = append(out, i)
		}
	}
	return out
}

// plausible tells a partition table from the boot sector of a filesystem, which ends in the same two bytes.
func (t *mbrTable) plausible(m *image, sector int64) bool {
	for _, e := range t.entries {
		if e.status&0x7F != 0 {
			return false
		}
	}
	for _, i := range t.used() {
		if e := t.entries[i]; e.start == 0 && e.kind != 0xEE || int64(e.start)*sector >= m.size {
			return false
		}
	}
	if len(t.used()) > 0 {
		return true
	}
	return t.id != 0 && probeFAT(m) == nil && probeNTFS(m) == nil && probeExFAT(m) == nil
}

// table turns the boot record into a partition table, logical partitions included.
func (t *mbrTable) table(m *image, sector int64, problem string) (*inventory.Table, []inventory.Partition, error) {
	out := &inventory.Table{Style: inventory.StyleMBR, ID: fmt.Sprintf("%08x", t.id), BootCode: t.bootCode}
	if problem != "" {
		out.Problems = append(out.Problems, problem)
	}
	var parts []inventory.Partition
	for _, i := range t.used() {
		e := t.entries[i]
		p := mbrPartition(e, i+1, t.id, int64(e.start)*sector, sector)
		p.Extended = e.extended()
		out.Problems = append(out.Problems, trim(&p, m.size)...)
		parts = append(parts, p)
	}
	for _, i := range t.used() {
		if t.entries[i].extended() {
			logical, problems := t.logical(m, sector, t.entries[i], 5)
			parts = append(parts, logical...)
			out.Problems = append(out.Problems, problems...)
			break // the kernel knows one extended partition only
		}
	}
	return out, parts, m.err
}

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0F || e.kind == 0x85 }

// logical follows the chain of boot records in an extended partition. Each must lie behind the one before, so a chain that
// refers to itself ends.
func (t *mbrTable) logical(m *image, sector int64, ext mbrEntry, index int) (parts []inventory.Partition, problems []string) {
	base := int64(ext.start) * sector
	limit := base + int64(ext.count)*sector
	at := base
	for records := 0; records < maxLogical; records++ {
		b := m.at(at, 512)
		if b == nil || b[510] != 0x55 || b[511] != 0xAA {
			return parts, append(problems, fmt.Sprintf("the chain of logical partitions breaks after %d", len(parts)))
		}
		entries := mbrEntries(b)
		if e := entries[0]; e.kind != 0 && e.count != 0 && !e.extended() {
			p := mbrPartition(e, index, t.id, at+int64(e.start)*sector, sector)
			p.Logical = true
			problems = append(problems, trim(&p, m.size)...)
			parts = append(parts, p)
			index++
		}
		next := entries[1]
		if !next.extended() || next.count == 0 {
			return parts, problems
		}
		to := base + int64(next.start)*sector
		if to <= at || to >= limit {
			return parts, append(problems, "the chain of logical partitions turns back or leaves its partition; the rest is ignored")
		}
		at = to
	}
	return parts, append(problems, fmt.Sprintf("more than %d logical partitions; the rest is ignored", maxLogical))
}

func mbrPartition(e mbrEntry, index int, id uint32, start, sector int64) inventory.Partition {
	return inventory.Partition{
		Index: index, Start: start, Size: int64(e.count) * sector,
		Type: fmt.Sprintf("%02x", e.kind), TypeName: mbrTypes[e.kind], Bootable: e.status&0x80 != 0,
		UUID: fmt.Sprintf("%08x-%02x", id, index),
	}
}

// trim cuts off what lies outside the disk.
func trim(p *inventory.Partition, size int64) (problems []string) {
	if p.Start+p.Size <= size || p.Type == "ee" {
		return nil
	}
	p.Size = max(0, size-p.Start)
	return []string{fmt.Sprintf("partition %d reaches outside the disk", p.Index)}
}

var mbrTypes = map[byte]string{
	0x01: "FAT12", 0x04: "FAT16 <32M", 0x05: "Extended", 0x06: "FAT16", 0x07: "HPFS/NTFS/exFAT", 0x0B: "W95 FAT32",
	0x0C: "W95 FAT32 (LBA)", 0x0E: "W95 FAT16 (LBA)", 0x0F: "W95 Ext'd (LBA)", 0x27: "Hidden NTFS WinRE", 0x41: "PPC PReP Boot",
	0x42: "SFS (Windows dynamic disk)", 0x82: "Linux swap", 0x83: "Linux", 0x85: "Linux extended", 0x8E: "Linux LVM",
	0xA5: "FreeBSD", 0xBF: "Solaris", 0xDE: "Dell Utility", 0xEE: "GPT", 0xEF: "EFI (FAT-12/16/32)", 0xFB: "VMware VMFS",
	0xFD: "Linux raid autodetect",
}

package probe

import (
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Bounds on a GPT: the specification (UEFI 2.10, chapter 5) has none. 4096 entries are 32 times what tools make.
const (
	maxGPTEntries   = 4096
	maxGPTEntrySize = 4096
)

// gpt is one decoded table.
type gpt struct {
	table inventory.Table
	parts []inventory.Partition
}

// gptHeader is a header that has passed its checks.
type gptHeader struct {
	own, other  uint64 // sectors of this header and of its twin
	first, last uint64 // usable sectors
	entries     uint64 // first sector of the entries
	count, size uint32
	sum         uint32 // of the entries
	guid        string
}

// readGPT reads the primary table, else the backup one, of a disk with the given sector size.
func readGPT(m *image, sector int64) (g gpt, ok bool) {
	end := uint64(m.size/sector) - 1
	if m.size < 3*sector {
		return g, false
	}
	primary, entries, perr := gptCopy(m, sector, 1)
	backupAt := end
	if perr == "" && primary.other < end && primary.other > 1 {
		backupAt = primary.other
	}
	backup, backupEntries, berr := gptCopy(m, sector, backupAt)
	h := primary
	switch {
	case perr != "" && berr != "":
		return g, false
	case perr != "":
		h, entries = backup, backupEntries
		g.table.Problems = append(g.table.Problems, "primary GPT: "+perr+"; the backup was used")
	case berr != "":
		g.table.Problems = append(g.table.Problems, "backup GPT: "+berr)
	case backup.guid != primary.guid || backup.sum != primary.sum:
		g.table.Problems = append(g.table.Problems, "primary and backup GPT differ; the primary was used")
	}
	if perr == "" && backupAt != end {
		g.table.Problems = append(g.table.Problems, "the backup GPT is not at the end of the disk: the disk has grown since")
	}
	g.table.Style, g.table.ID = inventory.StyleGPT, h.guid
	g.table.FirstUsable, g.table.LastUsable = product(h.first, uint64(sector)), product(h.last+1, uint64(sector))
	g.decode(h, entries, sector, end)
	return g, true
}

// gptCopy reads one header and its entries; bad says what is wrong with them.
func gptCopy(m *image, sector int64, lba uint64) (h gptHeader, entries []byte, bad string) {
	b := m.at(product(lba, uint64(sector)), int(sector))
	if b == nil || string(b[:8]) != "EFI PART" {
		return h, nil, "no header"
	}
	size := le.Uint32(b[12:])
	if size < 92 || int64(size) > sector {
		return h, nil, "header with an impossible size"
	}
	sum := crc32.NewIEEE()
	sum.Write(b[:16])
	sum.Write(make([]byte, 4))
	sum.Write(b[20:size])
	if sum.Sum32() != le.Uint32(b[16:]) {
		return h, nil, "header with a wrong checksum"
	}
	h = gptHeader{
		own: le.Uint64(b[24:]), other: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		guid: guid(b[56:72]), entries: le.Uint64(b[72:]), count: le.Uint32(b[80:]), size: le.Uint32(b[84:]), sum: le.Uint32(b[88:]),
	}
	if h.own != lba {
		return h, nil, "header of another place"
	}
	if h.count == 0 || h.count > maxGPTEntries || h.size < 128 || h.size > maxGPTEntrySize || h.size%8 != 0 {
		return h, nil, "header with an impossible number or size of entries"
	}
	at := product(h.entries, uint64(sector))
	if at == 0 {
		return h, nil, "header with its entries outside the disk"
	}
	entries = m.at(at, int(h.count*h.size))
	switch {
	case entries == nil:
		return h, nil, "header with its entries outside the disk"
	case crc32.ChecksumIEEE(entries) != h.sum:
		return h, nil, "entries with a wrong checksum"
	}
	return h, entries, ""
}

func (g *gpt) decode(h gptHeader, entries []byte, sector int64, end uint64) {
	for i := 0; i < int(h.count); i++ {
		e := entries[i*int(h.size):][:h.size]
		if isZero(e[:16]) {
			continue
		}
		first, last, flags := le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
		kind := guid(e[:16])
		p := inventory.Partition{
			Index: i + 1, Type: kind, TypeName: gptTypes[kind], UUID: guid(e[16:32]), Label: utf16Label(e[56:128]),
			Bootable: flags&4 != 0,
		}
		if first > last || last > end {
			g.table.Problems = append(g.table.Problems, fmt.Sprintf("partition %d reaches outside the disk", i+1))
			if first > last || first > end {
				continue
			}
			last = end
		}
		p.Start, p.Size = product(first, uint64(sector)), product(last-first+1, uint64(sector))
		g.parts = append(g.parts, p)
	}
}

// adopt takes from the MBR what belongs to the GPT.
func (g *gpt) adopt(r *mbrTable) {
	if r == nil {
		g.table.Problems = append(g.table.Problems, "the protective MBR is missing: the system may not see the GPT")
		return
	}
	g.table.BootCode = r.bootCode
	g.table.Hybrid = r.protective && len(r.used()) > 1
	if !r.protective {
		g.table.Problems = append(g.table.Problems, "the protective MBR is missing: the system may not see the GPT")
	}
}

// guid formats a GUID as Windows and UEFI store it: the first three fields little endian.
func guid(b []byte) string {
	s := []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	return uuid(append(s, b[8:16]...))
}

func utf16Label(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = le.Uint16(b[2*i:])
	}
	return text([]byte(strings.TrimRight(string(utf16.Decode(u)), "\x00")))
}

// gptTypes names the partition types that a migrated server is likely to have.
var gptTypes = map[string]string{
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI System",
	"21686148-6449-6e6f-744e-656564454649": "BIOS boot",
	"024dee41-33e7-11d3-9d69-0008c781f39f": "MBR partition scheme",
	"0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux filesystem",
	"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
	"e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
	"a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
	"bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux extended boot",
	"44479540-f297-41b2-9af7-d131d5f0458a": "Linux root (x86)",
	"4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
	"b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (ARM-64)",
	"933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
	"3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "Linux server data",
	"4d21b016-b534-45c2-a9fb-5c16e091fd2d": "Linux variable data",
	"8da63339-0007-60c0-c436-083ac8230908": "Linux reserved",
	"ca7d7ccb-63ed-4c53-861c-1742536059cc": "LUKS",
	"9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PowerPC PReP boot",
	"e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
	"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
	"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "Microsoft LDM metadata",
	"af9b60a0-1431-4f62-bc68-3311714a69ad": "Microsoft LDM data",
	"e75caf8f-f680-4cee-afa3-b001e56efc2d": "Microsoft Storage Spaces",
	"de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
	"6a898cc3-1dd2-11b2-99a6-080020736631": "ZFS",
	"6a945a3b-1dd2-11b2-99a6-080020736631": "Solaris reserved",
	"516e7cb4-6ecf-11d6-8ff8-00022d09712b": "FreeBSD data",
	"83bd6b9d-7f41-11dc-be0b-001560b84f0f": "FreeBSD boot",
	"aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
	"9d275380-40ad-11db-bf97-000c2911d1b8": "VMware diagnostic",
}

package allocmap

import (
	"errors"
	"fmt"
	"slices"
)

// maxGap is how much space between partitions, and at the end of a disk, is in use although no partition has it: firmware and
// software RAIDs, old boot loaders and dynamic disks keep things there. More than that between two partitions is free.
const maxGap = 16 << 20

// partition is an entry of a partition table, in bytes.
type partition struct {
	name        string
	start, size int64
	whole       string // why it is in use as a whole; "" when its content decides
	extended    bool   // it holds others
}

func (p partition) end() int64 { return p.start + p.size }

const gptMagic = "EFI PART"

// isTable reports whether a volume begins with a partition table: an MBR with partitions, or a GPT.
func isTable(v *volume) bool {
	return v.has(512, gptMagic) || v.has(4096, gptMagic) || readMBR(v).plausible(v)
}

// scanTable takes up the partitions of a disk, and marks what lies outside of them.
func (s *scan) scanTable(v *volume) error {
	mbr := readMBR(v)
	var parts []partition
	var err error
	gpt := v.has(512, gptMagic) || v.has(4096, gptMagic)
	switch {
	case mbr != nil && mbr.protective:
		v.report.Type = "gpt"
		parts, err = readGPT(v, mbr)
	case gpt:
		return errors.New("there is a GPT that the MBR does not announce")
	default:
		v.report.Type = "dos"
		parts, err = mbr.partitions(v)
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(parts, func(a, b partition) int {
		if a.start != b.start {
			return int(min(max(a.start-b.start, -1), 1))
		}
		return int(min(max(b.size-a.size, -1), 1)) // an extended partition before what it holds
	})
	if err := overlaps(parts); err != nil {
		return err
	}
	at := int64(0) // behind the partitions so far
	for i, p := range parts {
		if gap := p.start - at; i == 0 || gap <= maxGap {
			v.use(at, gap)
		} else {
			v.note("the %d bytes before partition %s are free", gap, p.name)
		}
		switch {
		case p.extended:
			at = max(at, p.start)
		case p.whole != "":
			v.use(p.start, p.size)
			v.note("partition %s is taken as a whole: %s", p.name, p.whole)
			at = p.end()
		default:
			s.within(v, p.name, p.start, p.size)
			at = p.end()
		}
	}
	rest := v.size - at
	if rest > maxGap {
		v.note("of the %d bytes behind the last partition the last %d are in use", rest, maxGap)
		rest = maxGap
	}
	v.use(v.size-rest, rest)
	return nil
}

// overlaps fails when two partitions share a byte, unless one is there to hold the other.
func overlaps(parts []partition) error {
	var holder, last *partition
	for i := range parts {
		p := &parts[i]
		if last != nil && p.start < last.end() || holder != nil && p.start < holder.end() && p.end() > holder.end() {
			return fmt.Errorf("partition %s overlaps another", p.name)
		}
		if p.extended {
			holder = p
		} else {
			last = p
		}
	}
	return nil
}

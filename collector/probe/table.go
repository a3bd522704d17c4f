package probe

import (
	"io"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Table reads the partition table of the size bytes of r. sector is the logical sector size; 0 means that it is not known,
// as of an image file, and both 512 and 4096 are tried. Partition names are left to the caller.
//
// A GPT counts only when the MBR announces it, as the kernel sees it; damage that can be worked around is in
// Table.Problems. The error is ErrUnknown when there is no table, or the error of r.
func Table(r io.ReaderAt, size, sector int64) (*inventory.Table, []inventory.Partition, error) {
	m := newImage(r, size)
	mbr := readMBR(m)
	for _, s := range sectorSizes(sector) {
		g, ok := readGPT(m, s)
		if !ok {
			continue
		}
		if mbr != nil && !mbr.protective && len(mbr.used()) > 0 {
			return mbr.table(m, s, "there is a GPT too, which the MBR does not announce: left over, or the MBR was rewritten")
		}
		if sector != 0 && s != sector {
			g.table.Problems = append(g.table.Problems, "the GPT was written for another sector size: the system does not see it")
		}
		g.adopt(mbr)
		return &g.table, g.parts, nil
	}
	if m.err != nil {
		return nil, nil, m.err
	}
	if mbr == nil || !mbr.plausible(m, max(sector, 512)) {
		return nil, nil, ErrUnknown
	}
	if mbr.protective {
		return mbr.table(m, max(sector, 512), "the MBR announces a GPT, but neither its primary nor its backup can be read")
	}
	return mbr.table(m, max(sector, 512), "")
}

func sectorSizes(sector int64) []int64 {
	switch sector {
	case 0, 512:
		return []int64{512, 4096}
	case 4096:
		return []int64{4096, 512}
	default:
		if powerOfTwo(uint64(sector), 512, 64<<10) {
			return []int64{sector, 512, 4096}
		}
		return []int64{512, 4096}
	}
}

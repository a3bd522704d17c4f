package probe

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Where LVM2 keeps its label and metadata (lvm2 lib/format_text/layout.h). The label is in one of the first four sectors of
// 512 bytes; metadata areas are rings whose first 512 bytes are a header.
const (
	lvmSectors  = 4
	lvmHeader   = 512
	lvmMagic    = " LVM2 x[5A%r0N*>"
	lvmCRCStart = 0xf597a6cf
	maxMetadata = 16 << 20 // bytes of one copy of a volume group's metadata; lvm2's own areas are 1 MiB
	maxAreas    = 8
)

// PhysicalVolume is the label of an LVM physical volume.
type PhysicalVolume struct {
	UUID     string // as LVM writes it: 6-4-4-4-4-4-6 characters
	Size     int64
	metadata []area
}

type area struct{ off, size int64 }

func probeLVM(m *image) *inventory.Content {
	pv, ok := lvmLabel(m)
	if !ok {
		return nil
	}
	return &inventory.Content{Type: "LVM2_member", Class: inventory.ClassMember, Version: "LVM2 001", UUID: pv.UUID, Size: pv.Size}
}

// lvmLabel finds the label and decodes the physical volume header that it points to.
func lvmLabel(m *image) (pv PhysicalVolume, ok bool) {
	for sector := int64(0); sector < lvmSectors; sector++ {
		b := m.at(sector*512, 512)
		if b == nil || string(b[:8]) != "LABELONE" || string(b[24:32]) != "LVM2 001" || int64(le.Uint64(b[8:])) != sector {
			continue
		}
		if lvmCRC(b[20:]) != le.Uint32(b[16:]) {
			continue
		}
		at := int(le.Uint32(b[20:]))
		if at < 32 || at > 512-40 {
			continue
		}
		pv.UUID, pv.Size = lvmUUID(b[at:at+32]), bounded(le.Uint64(b[at+32:]))
		// Two lists of areas, each ended by a zero entry: where data begins, then where metadata is.
		list, lists := b[at+40:], 0
		for ; len(list) >= 16 && lists < 2; list = list[16:] {
			a := area{off: bounded(le.Uint64(list)), size: bounded(le.Uint64(list[8:]))}
			switch {
			case a.off == 0:
				lists++
			case lists == 1 && len(pv.metadata) < maxAreas:
				pv.metadata = append(pv.metadata, a)
			}
		}
		return pv, true
	}
	return pv, false
}

func lvmUUID(b []byte) string {
	s := text(b)
	if len(s) != 32 {
		return s
	}
	return s[:6] + "-" + s[6:10] + "-" + s[10:14] + "-" + s[14:18] + "-" + s[18:22] + "-" + s[22:26] + "-" + s[26:]
}

// lvmCRC is CRC-32 with LVM's own start value and without the final inversion.
func lvmCRC(b []byte) uint32 { return ^crc32.Update(^uint32(lvmCRCStart), crc32.IEEETable, b) }

// LVMMetadata returns the newest metadata text that the physical volume in the size bytes of r carries, and its label. The
// text is nil when the physical volume carries none, which is normal: not all of a group need to. ErrUnknown means that
// there is no physical volume.
func LVMMetadata(r io.ReaderAt, size int64) (PhysicalVolume, []byte, error) {
	m := newImage(r, size)
	pv, ok := lvmLabel(m)
	if !ok {
		if m.err != nil {
			return pv, nil, m.err
		}
		return pv, nil, ErrUnknown
	}
	var bad error
	for _, a := range pv.metadata {
		data, err := lvmArea(m, a)
		if err == nil && data != nil {
			return pv, data, nil
		}
		if err != nil {
			bad = err
		}
	}
	if m.err != nil {
		bad = m.err
	}
	return pv, nil, bad
}

// lvmArea reads the committed text of one metadata area; nil when the area is empty.
func lvmArea(m *image, a area) ([]byte, error) {
	h := m.at(a.off, lvmHeader)
	if h == nil || string(h[4:20]) != lvmMagic || lvmCRC(h[4:]) != le.Uint32(h) {
		return nil, fmt.Errorf("LVM metadata area at %d: damaged header", a.off)
	}
	ring := bounded(le.Uint64(h[32:]))
	off, n := bounded(le.Uint64(h[40:])), bounded(le.Uint64(h[48:]))
	if off == 0 || n == 0 {
		return nil, nil
	}
	if ring <= lvmHeader || off < lvmHeader || off >= ring || n > ring-lvmHeader || n > maxMetadata || bounded(le.Uint64(h[24:])) != a.off {
		return nil, fmt.Errorf("LVM metadata area at %d: text of %d bytes at %d does not fit", a.off, n, off)
	}
	first := min(n, ring-off)
	head, tail := m.at(a.off+off, int(first)), m.at(a.off+lvmHeader, int(n-first))
	if head == nil || tail == nil {
		return nil, fmt.Errorf("LVM metadata area at %d: text is outside the device", a.off)
	}
	data := append(append(make([]byte, 0, n), head...), tail...)
	if lvmCRC(data) != le.Uint32(h[56:]) {
		return nil, fmt.Errorf("LVM metadata area at %d: text with a wrong checksum", a.off)
	}
	return data, nil
}

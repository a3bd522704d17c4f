package allocmap

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
)

// Where LVM2 keeps its label and metadata (lvm2 lib/format_text/layout.h). The label is in one of the first four sectors of 512
// bytes; a metadata area is a ring, whose first 512 bytes are its header.
const (
	lvmSector      = 512
	lvmMagic       = " LVM2 x[5A%r0N*>"
	maxLVMMetadata = 16 << 20 // bytes of all texts that differ; lvm2's own areas are 1 MiB
	maxLVMAreas    = 8
)

// physical is a physical volume.
type physical struct {
	*volume
	id    string // as in the metadata, without hyphens
	areas []lvmArea
	text  section
	err   error // why there is no text
	done  bool  // its group was looked at
}

type lvmArea struct{ off, size uint64 }

// lvmLabel returns the sector of the label, and which it is.
func lvmLabel(v *volume) ([]byte, int64) {
	for n := range int64(4) {
		b, err := v.read(n*lvmSector, lvmSector)
		if err == nil && string(b[:8]) == "LABELONE" && string(b[24:32]) == "LVM2 001" {
			return b, n
		}
	}
	return nil, 0
}

func isLVM(v *volume) bool { b, _ := lvmLabel(v); return b != nil }

// lvmCRC is CRC-32 with a start of its own and without the last inversion.
func lvmCRC(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }

// collectLVM reads label and metadata of a physical volume and keeps it until all are known.
func (s *scan) collectLVM(v *volume) error {
	b, n := lvmLabel(v)
	at := int(le.Uint32(b[20:]))
	if int64(le.Uint64(b[8:])) != n || lvmCRC(b[20:]) != le.Uint32(b[16:]) || at < 32 || at > lvmSector-40 {
		return errors.New("the LVM label is damaged")
	}
	if size := le.Uint64(b[at+32:]); size > uint64(v.size) {
		return fmt.Errorf("the physical volume has %d bytes, the volume %d", size, v.size)
	}
	p := &physical{volume: v, id: string(b[at : at+32]), err: errors.New("it has no LVM metadata")}
	// Two lists of areas, each ended by a zero entry: where data begins, then where metadata is.
	list, lists := b[at+40:], 0
	for ; len(list) >= 16 && lists < 2; list = list[16:] {
		a := lvmArea{le.Uint64(list), le.Uint64(list[8:])}
		switch {
		case a.off == 0:
			lists++
		case lists == 1 && len(p.areas) < maxLVMAreas:
			p.areas = append(p.areas, a)
		case lists == 1:
			return errors.New("it has too many LVM metadata areas")
		}
	}
	for _, a := range p.areas {
		if a.off >= uint64(v.size) || a.size > uint64(v.size)-a.off {
			return errors.New("its LVM metadata is outside the volume")
		}
		text, err := s.texts.read(v, a)
		if err == nil && (p.err != nil || lvmSeqno(text) > lvmSeqno(p.text)) {
			p.text, p.err = text, nil
		}
	}
	s.pvs = append(s.pvs, p)
	return nil
}

// lvmTexts remembers what was parsed: all physical volumes of a group carry the same text.
type lvmTexts struct {
	parsed map[[sha256.Size]byte]section
	bytes  uint64
}

// read reads the text that a metadata area holds.
func (t *lvmTexts) read(v *volume, a lvmArea) (section, error) {
	h, err := v.read(int64(a.off), lvmSector)
	if err != nil {
		return section{}, err
	}
	ring, off, n := le.Uint64(h[32:]), le.Uint64(h[40:]), le.Uint64(h[48:])
	if string(h[4:20]) != lvmMagic || lvmCRC(h[4:]) != le.Uint32(h) || le.Uint64(h[24:]) != a.off || ring <= lvmSector || ring > a.size && a.size != 0 ||
		off < lvmSector || off >= ring || n == 0 || n > ring-lvmSector || n > maxLVMMetadata {
		return section{}, errText
	}
	first := min(n, ring-off)
	text, err := v.read(int64(a.off+off), int(first))
	if err != nil {
		return section{}, err
	}
	rest, err := v.read(int64(a.off)+lvmSector, int(n-first))
	if err != nil {
		return section{}, err
	}
	if text = append(text, rest...); lvmCRC(text) != le.Uint32(h[56:]) {
		return section{}, errText
	}
	sum := sha256.Sum256(text)
	if s, ok := t.parsed[sum]; ok {
		return s, nil
	}
	if t.bytes += n; t.bytes > maxLVMMetadata {
		return section{}, errors.New("there is too much LVM metadata")
	}
	s, err := parseText(text)
	if err == nil {
		if t.parsed == nil {
			t.parsed = map[[sha256.Size]byte]section{}
		}
		t.parsed[sum] = s
	}
	return s, err
}

// group returns the section of the volume group, of which the text has one.
func (s section) group() (name string, vg section) {
	s.each(func(n string, sub section) {
		if name == "" {
			name, vg = n, sub
		}
	})
	return name, vg
}

func lvmSeqno(text section) int64 { _, vg := text.group(); return vg.num("seqno") }

// groups looks at the volume groups whose physical volumes have been found since the last call. All their logical volumes
// become volumes to look at.
func (s *scan) groups() {
	newest := map[string]*physical{} // by id of the group
	for _, p := range s.pvs {
		if _, vg := p.text.group(); p.err == nil && !p.done {
			if old := newest[vg.str("id")]; old == nil || lvmSeqno(p.text) > lvmSeqno(old.text) {
				newest[vg.str("id")] = p
			}
		}
	}
	for _, p := range s.pvs {
		if _, vg := p.text.group(); newest[vg.str("id")] == p && p.err == nil && !p.done {
			s.group(p)
		}
	}
	for _, p := range s.pvs {
		if !p.done {
			p.done = true
			if p.err == nil {
				p.err = errors.New("it is not part of its volume group")
			}
			p.whole(p.err.Error())
			p.flush()
		}
	}
}

// group looks at one volume group. What its metadata cannot say is in use on all physical volumes that it names.
func (s *scan) group(newest *physical) {
	name, vg := newest.text.group()
	g := &lvmGroup{scan: s, vg: vg, name: name, physical: map[string]*lvmPhysical{}}
	err := g.read()
	for _, p := range g.physical {
		if p.physical == nil {
			continue
		}
		p.done = true
		if err != nil {
			p.whole(fmt.Sprintf("volume group %q: %v", name, err))
		}
	}
	if err == nil {
		g.offer()
	}
	for _, p := range g.physical {
		if p.physical != nil {
			p.flush()
		}
	}
}

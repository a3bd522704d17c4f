package allocmap

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

const pageSize = 4096

// pages is an image of which only what is not zero is kept.
type pages struct {
	data  map[int64][]byte
	order []int64
	size  int64
}

func load(name string) (*pages, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &pages{data: map[int64][]byte{}}
	b, zero := make([]byte, pageSize), make([]byte, pageSize)
	for {
		n, err := io.ReadFull(f, b)
		if n > 0 && !bytes.Equal(b, zero) {
			p.data[p.size/pageSize] = slices.Clone(b)
			p.order = append(p.order, p.size/pageSize)
		}
		p.size += int64(n)
		if err != nil {
			return p, nil
		}
	}
}

// ReadAt reads as a device does.
func (p *pages) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && off < p.size {
		room := min(pageSize-off%pageSize, int64(len(b)-n), p.size-off)
		clear(b[n:][:room])
		if page := p.data[off/pageSize]; page != nil {
			copy(b[n:][:room], page[off%pageSize:])
		}
		n, off = n+int(room), off+room
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// patched returns the image with changes: rows of the number of a page that is not zero, a place in it, a count, and bytes.
func (p *pages) patched(changes []byte) *pages {
	out := &pages{data: map[int64][]byte{}, order: p.order, size: p.size}
	for k, v := range p.data {
		out.data[k] = v
	}
	for len(changes) > 5 && len(p.order) > 0 {
		page := p.order[int(binary.LittleEndian.Uint16(changes))%len(p.order)]
		at, n := int(binary.LittleEndian.Uint16(changes[2:]))%pageSize, min(int(changes[4])+1, len(changes)-5)
		b := slices.Clone(out.data[page])
		copy(b[at:], changes[5:5+n])
		out.data[page] = b
		changes = changes[5+n:]
	}
	return out
}

// images makes filesystems by lines of commands, IMG standing for the image; those whose tool is not installed are left out. None has checksums
// that a change would break.
func images(f *testing.F, size int64, lines ...string) (out []*pages) {
	dir := f.TempDir()
	files := filepath.Join(dir, "files")
	for i := range 40 {
		if os.MkdirAll(files, 0o700) != nil || os.WriteFile(filepath.Join(files, fmt.Sprint(i)), make([]byte, i*3000), 0o600) != nil {
			f.Fatal("cannot make files")
		}
	}
	for i, line := range lines {
		name := filepath.Join(dir, fmt.Sprint("image", i))
		if os.WriteFile(name, nil, 0o600) != nil || os.Truncate(name, size) != nil {
			f.Fatal("cannot make an image")
		}
		args := strings.Fields(strings.NewReplacer("IMG", name, "DIR", files).Replace(line))
		if exec.Command(args[0], args[1:]...).Run() != nil {
			continue
		}
		p, err := load(name)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, p)
		os.Remove(name)
	}
	if len(out) == 0 {
		f.Skip("no tool makes an image")
	}
	return out
}

// judge scans hostile devices: it must return in time, with little memory, and a map that can be.
func judge(t *testing.T, devices ...*pages) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var in []Device
	for _, p := range devices {
		in = append(in, Device{R: p, Size: p.size})
	}
	maps, err := Scan(context.Background(), in...)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if d := time.Since(start); d > 20*time.Second {
		t.Fatalf("took %v", d)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
		t.Fatalf("allocated %d bytes", n)
	}
	for i, m := range maps {
		last := int64(-1)
		for _, e := range m.Extents {
			if e.Size <= 0 || e.Start <= last || e.End() > devices[i].size {
				t.Fatalf("extent %v of %d", e, devices[i].size)
			}
			last = e.End()
		}
		for _, v := range m.Volumes {
			if v.Whole != "" && v.Path == "" && m.Extents.Bytes() != devices[i].size {
				t.Fatalf("%+v is not whole", v)
			}
		}
	}
}

// fuzzed changes images in up to some hundred places.
func fuzzed(f *testing.F, bases []*pages) {
	for i := range bases {
		f.Add(uint8(i), []byte{})
		for page := range min(len(bases[i].order), 12) {
			f.Add(uint8(i), []byte{byte(page), 0, 24, 0, 3, 0xFF, 0xFF, 0xFF, 0x7F})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		judge(t, bases[int(which)%len(bases)].patched(changes))
	})
}

func FuzzExt(f *testing.F) {
	fuzzed(f, images(f, 16<<20, "mke2fs -q -F -t ext4 -O ^metadata_csum,^uninit_bg -d DIR IMG", "mke2fs -q -F -t ext2 -b 1024 -r 0 IMG",
		"mke2fs -q -F -t ext4 -O ^metadata_csum,^uninit_bg,meta_bg,^resize_inode -g 512 -b 1024 -d DIR IMG",
		"mke2fs -q -F -t ext4 -O ^metadata_csum,^uninit_bg,bigalloc -C 16384 -b 1024 -d DIR IMG"))
}

func FuzzXFS(f *testing.F) {
	fuzzed(f, images(f, 64<<20, "mkfs.xfs -q -f --unsupported -m crc=0 IMG", "mkfs.xfs -q -f --unsupported -m crc=0 -b size=1024 -l version=1 IMG"))
}

func FuzzNTFS(f *testing.F) {
	fuzzed(f, images(f, 8<<20, "mkntfs -Q -q -F IMG", "mkntfs -Q -q -F -c 512 IMG"))
}

func FuzzFAT(f *testing.F) {
	fuzzed(f, images(f, 40<<20, "mkfs.vfat -F 12 -s 64 IMG", "mkfs.vfat -F 16 IMG", "mkfs.vfat -F 32 -s 1 IMG", "mkfs.exfat IMG", "mkswap IMG"))
}

// FuzzBtrfs has filesystems of one and of two devices; their xxhash is not computed here, so changes get past it.
func FuzzBtrfs(f *testing.F) {
	one := images(f, 128<<20, "mkfs.btrfs -q -f --csum xxhash IMG", "mkfs.btrfs -q -f -M --csum xxhash IMG", "mkfs.btrfs -q -f --csum xxhash -m single --rootdir DIR IMG")
	other := filepath.Join(f.TempDir(), "other")
	if os.WriteFile(other, nil, 0o600) != nil || os.Truncate(other, 128<<20) != nil {
		f.Fatal("cannot make an image")
	}
	first := images(f, 128<<20, "mkfs.btrfs -q -f --csum xxhash -m raid1 -d raid0 IMG "+other)
	second, err := load(other)
	if err != nil {
		f.Fatal(err)
	}
	for i := range one {
		for page := range min(len(one[i].order), 40) {
			f.Add(uint8(i), []byte{byte(page), 0, 101, 0, 3, 0xFF, 0xFF, 0xFF, 0x7F})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		if i := int(which) % (len(one) + 1); i < len(one) {
			judge(t, one[i].patched(changes))
			return
		}
		judge(t, first[0].patched(changes), second)
	})
}

// entry is an entry of a boot record, in sectors.
func entry(kind byte, start, count uint32) []byte {
	b := append(make([]byte, 4), kind, 0, 0, 0)
	return le.AppendUint32(le.AppendUint32(b, start), count)
}

// FuzzTable puts checksums of a GPT right after the change.
func FuzzTable(f *testing.F) {
	bases := images(f, 16<<20, "sgdisk -n 1:0:+4M -n 2:0:0 IMG")
	dos := &pages{data: map[int64][]byte{0: make([]byte, pageSize), 1024: make([]byte, pageSize)}, order: []int64{0, 1024}, size: 16 << 20}
	copy(dos.data[0][446:], append(entry(0x83, 2048, 2048), entry(0x05, 8192, 16384)...))
	copy(dos.data[1024][446:], append(entry(0x83, 2048, 2048), entry(0x05, 8192, 8192)...))
	for _, b := range dos.data {
		copy(b[510:], "\x55\xaa")
	}
	bases = append(bases, dos)
	for i := range bases {
		f.Add(uint8(i), []byte{0, 0, 0xBE, 1, 15, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0xFF, 0x7F, 0, 0}) // an extended partition
		f.Add(uint8(i), []byte{0, 0, 72, 2, 7, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		p := bases[int(which)%len(bases)].patched(changes)
		head := make([]byte, 34*512)
		p.ReadAt(head, 0)
		h := head[512:1024]
		if string(h[:8]) == gptMagic {
			n := int(le.Uint32(h[80:])) * int(le.Uint32(h[84:]))
			if n > 0 && n <= len(head)-1024 {
				le.PutUint32(h[88:], crc32.ChecksumIEEE(head[1024:1024+n]))
			}
			clear(h[16:20])
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:min(max(le.Uint32(h[12:]), 20), 512)]))
			for i := int64(0); i < 4; i++ {
				p.data[i] = head[i*pageSize:][:pageSize]
			}
		}
		judge(t, p)
	})
}

// physicalVolume makes a physical volume that carries a metadata text, with right checksums.
func physicalVolume(size int64, id string, text []byte) *pages {
	const at, area = 4096, 1<<20 - 4096
	b := make([]byte, 2<<20)
	label := b[512:1024]
	copy(label, "LABELONE")
	le.PutUint64(label[8:], 1)
	le.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001")
	copy(label[32:], id)
	le.PutUint64(label[64:], uint64(size))
	le.PutUint64(label[72:], 1<<20+at)
	le.PutUint64(label[104:], at) // behind the zero entry that ends the list of data areas
	le.PutUint64(label[112:], area)
	le.PutUint32(label[16:], lvmCRC(label[20:]))
	h := b[at:][:512]
	copy(h[4:], lvmMagic)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], at)
	le.PutUint64(h[32:], area)
	le.PutUint64(h[40:], 512)
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], lvmCRC(text))
	le.PutUint32(h, lvmCRC(h[4:]))
	copy(b[at+512:], text)
	p := &pages{data: map[int64][]byte{}, size: size}
	for i := int64(0); i*pageSize < int64(len(b)); i++ {
		p.data[i] = b[i*pageSize:][:pageSize]
	}
	return p
}

const lvmSeed = `vg {
id = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
seqno = 3
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192 # 4 MiB
physical_volumes { pv0 { id = "000000-0000-0000-0000-0000-0000-000000" pe_start = 2048 pe_count = 60 }
pv1 { id = "111111-1111-1111-1111-1111-1111-111111" pe_start = 2048 pe_count = 60 } }
logical_volumes { root { status = ["READ", "VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 4 type = "striped" stripe_count = 1 stripes = ["pv0", 3] }
segment2 { start_extent = 4 extent_count = 8 type = "striped" stripe_count = 2 stripe_size = 128 stripes = ["pv0", 10, "pv1", 0] } }
pool { segment1 { start_extent = 0 extent_count = 4 type = "thin-pool" metadata = "meta" pool = "root" } } } }
`

// TestLVMText says that the seed is understood.
func TestLVMText(t *testing.T) {
	var in []Device
	for _, id := range []string{"0", "1"} {
		p := physicalVolume(256<<20, strings.Repeat(id, 32), []byte(lvmSeed))
		in = append(in, Device{R: p, Size: p.size})
	}
	maps, err := Scan(context.Background(), in...)
	if err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	// The head, segment1 and a column of segment2, and what is behind the last extent.
	want := [][]extent.Extent{
		{{Start: 0, Size: mib}, {Start: 13 * mib, Size: 16 * mib}, {Start: 41 * mib, Size: 16 * mib}, {Start: 241 * mib, Size: 15 * mib}},
		{{Start: 0, Size: 17 * mib}, {Start: 241 * mib, Size: 15 * mib}},
	}
	for i, m := range maps {
		if !slices.Equal(m.Extents, want[i]) || m.Volumes[0].Whole != "" {
			t.Fatalf("%+v", m)
		}
	}
}

// FuzzLVM changes the metadata text.
func FuzzLVM(f *testing.F) {
	f.Add([]byte(lvmSeed))
	for _, change := range [][2]string{
		{"8192", "1"}, {"8192", "4294967296"}, {"pe_count = 60", "pe_count = 9223372036854775807"}, {"0, \"pv1\"", "-1, \"pv1\""}, {"stripe_size = 128", "stripe_size = 0"},
		{"extent_count = 8", "extent_count = 9223372036854775807"}, {"\"pv0\", 3", "\"pv0\", 11"}, {"pv1 {", "pv0 {"}, {"[", "[["}, {"}", ""}, {"stripes = [", "stripes = [ [ ["},
	} {
		f.Add([]byte(strings.ReplaceAll(lvmSeed, change[0], change[1])))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 || len(text) > 512<<10 {
			return
		}
		judge(t, physicalVolume(256<<20, strings.Repeat("0", 32), text), physicalVolume(256<<20, strings.Repeat("1", 32), text))
	})
}

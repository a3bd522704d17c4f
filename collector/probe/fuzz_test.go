package probe

import (
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patched is a device: base, with data written over it at off, and zeroes up to size.
type patched struct {
	base, data []byte
	off, size  int64
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.size-off))
	clear(b[:n])
	for _, part := range []struct {
		data []byte
		at   int64
	}{{p.base, 0}, {p.data, p.off}} {
		from, to := max(off, part.at), min(off+int64(n), part.at+int64(len(part.data)))
		if from < to {
			copy(b[from-off:], part.data[from-part.at:to-part.at])
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// seeds are the first bytes of small images made by the tools that are installed; only those whose command contains match.
func seeds(f *testing.F, headBytes int64, match string) map[string][]byte {
	out := map[string][]byte{"blank": make([]byte, 4096)}
	for _, line := range []string{
		"mkfs.ext4 -q -F IMG", "mkfs.xfs -q -f IMG", "mkfs.btrfs -q -f IMG", "mkntfs -q -F IMG", "mkfs.vfat -F 16 IMG", "mkfs.vfat -F 32 IMG",
		"mkfs.exfat IMG", "mkswap IMG", "sgdisk -n 1:0:0 IMG", "sgdisk -n 1:0:0 -h 1 IMG", "lvm pvcreate -q --driverloaded n IMG",
	} {
		if !strings.Contains(line, match) {
			continue
		}
		img := filepath.Join(f.TempDir(), "image")
		if os.WriteFile(img, nil, 0o600) != nil || os.Truncate(img, 320<<20) != nil {
			f.Fatal("cannot make an image")
		}
		args := strings.Fields(strings.Replace(line, "IMG", img, 1))
		if exec.Command(args[0], args[1:]...).Run() != nil {
			continue
		}
		in, err := os.Open(img)
		if err != nil {
			f.Fatal(err)
		}
		head := make([]byte, headBytes)
		n, _ := in.ReadAt(head, 0)
		in.Close()
		os.Remove(img)
		out[line] = head[:n]
	}
	return out
}

// inTime fails when one input takes so long that a disk could hold up discovery.
func inTime(t *testing.T, start time.Time) {
	if d := time.Since(start); d > 20*time.Second {
		t.Fatalf("took %v", d)
	}
}

func FuzzContent(f *testing.F) {
	heads := sorted(seeds(f, 1<<20, ""))
	for i := range heads {
		for _, off := range []uint32{0, 11, 1024 + 24, 0x2b, 64<<10 + 0x90} {
			f.Add(uint8(i), off, []byte("\xff\xff\xff\xff"), int64(320<<20))
		}
		f.Add(uint8(i), uint32(0), []byte{}, int64(len(heads[i])))
	}
	f.Fuzz(func(t *testing.T, which uint8, off uint32, data []byte, size int64) {
		defer inTime(t, time.Now())
		head := heads[int(which)%len(heads)]
		c, err := Content(patched{base: head, data: data, off: int64(off), size: size}, size)
		if err == nil && (c.Type == "" || c.Usage != nil && (c.Usage.Used < 0 || c.Usage.Free < 0)) {
			t.Fatalf("%+v", c)
		}
		if err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	})
}

// loopback is an extended partition whose chain refers to itself.
func loopback() []byte {
	b := make([]byte, 4096)
	copy(b[446:], "\x00\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00\xff\xff\x00\x00")
	copy(b[510:], "\x55\xaa")
	copy(b[512+446+16:], "\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00")
	copy(b[1022:], "\x55\xaa")
	return b
}

func FuzzTable(f *testing.F) {
	bases := seeds(f, 34<<10, "sgdisk")
	bases["loopback"] = loopback()
	heads := sorted(bases)
	for i := range heads {
		f.Add(uint8(i), uint32(446), []byte("\x80\x00\x00\x00\x0f\x00\x00\x00\x01"), int64(320<<20), int64(512))
		f.Add(uint8(i), uint32(512+72), []byte("\xff\xff"), int64(320<<20), int64(0))
	}
	f.Fuzz(func(t *testing.T, which uint8, off uint32, data []byte, size, sector int64) {
		defer inTime(t, time.Now())
		dev := patched{base: heads[int(which)%len(heads)], data: data, off: int64(off), size: size}
		_, parts, err := Table(dev, size, sector)
		if err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		if len(parts) > maxGPTEntries {
			t.Fatalf("%d partitions", len(parts))
		}
		for _, p := range parts {
			if p.Size < 0 || p.Start < 0 || p.Type != "ee" && p.Start+p.Size > max(size, p.Start) {
				t.Fatalf("%+v on a disk of %d", p, size)
			}
		}
	})
}

func sorted(m map[string][]byte) (out [][]byte) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}

// FuzzBtrfs damages the trees of a filesystem whose checksum type is one that is not verified, so that damage reaches the
// decoder instead of being caught by the sums.
func FuzzBtrfs(f *testing.F) {
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		f.Skip("needs mkfs.btrfs, which is not installed")
	}
	base := seeds(f, 80<<20, "mkfs.btrfs")["mkfs.btrfs -q -f IMG"]
	if base == nil {
		f.Skip("mkfs.btrfs makes no image here")
	}
	const super = 64 << 10
	base[super+0xC4] = 1
	f.Add(uint32(super+0x50), []byte{0, 0, 0, 1})
	f.Add(uint32(super+0x32B), []byte("\xff\xff\xff\xff"))
	f.Add(uint32(22020096+96), []byte("\xff\xff\x00\x00\x07"))
	f.Fuzz(func(t *testing.T, off uint32, data []byte) {
		defer inTime(t, time.Now())
		size := int64(320 << 20)
		dev := BtrfsDevice{Name: "x", R: patched{base: base, data: data, off: int64(off), size: size}, Size: size}
		if _, err := Btrfs([]BtrfsDevice{dev}); err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	})
}

func FuzzVolumeGroup(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "lvm-kinds.vg"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`vg { extent_size = 9223372036854775807 physical_volumes { pv0 { pe_count = 9223372036854775807 dev_size = -1 } } }`))
	f.Add([]byte(strings.Repeat("a{", 100)))
	f.Add([]byte(`vg { extent_size = 1 logical_volumes { l { s { extent_count = 99999999999 stripe_count = 2 stripes = ["pv0", -3, "x"] } } } }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		defer inTime(t, time.Now())
		vg, err := VolumeGroup(text, func(string) string { return "" })
		if err == nil && (vg.Size < 0 || vg.Free < 0) {
			t.Fatalf("%+v", vg)
		}
	})
}

package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// prose is compressible to about a third.
func prose(n int) []byte {
	words := []string{"source", "target", "extent", "chunk", "frame", "the", "of", "is", "durable", "manifest", "0x%04x", "\n"}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(1000))
	}
	return b.Bytes()[:n]
}

func TestCodecs(t *testing.T) {
	inputs := map[string][]byte{
		"empty": {}, "one byte": {7}, "zeroes": make([]byte, 1<<20), "prose": prose(2<<20 + 64<<10), "noise": noise(300_000),
	}
	for s := range strengthEnd {
		c := New(s)
		for name, in := range inputs {
			packed, err := c.Encode([]byte("before"), in)
			if err != nil || !bytes.HasPrefix(packed, []byte("before")) {
				t.Fatalf("%s %s: %v", s, name, err)
			}
			packed = packed[len("before"):]
			out, err := c.Decode([]byte("head"), packed, len(in))
			if err != nil || !bytes.Equal(out, append([]byte("head"), in...)) {
				t.Fatalf("%s %s: %v", s, name, err)
			}
			if len(in) == 0 {
				continue
			}
			if _, err := c.Decode(nil, packed, len(in)-1); !errors.Is(err, ErrTooLong) || fault.ClassOf(err) != fault.ClassPermanent {
				t.Errorf("%s %s over the limit: %v", s, name, err)
			}
			if s == Off {
				continue
			}
			if _, err := c.Decode(nil, packed[:len(packed)-1], len(in)); err == nil {
				t.Errorf("%s %s cut short: no error", s, name)
			}
		}
	}
}

// A bomb announces little and holds much, or announces much.
func TestBombs(t *testing.T) {
	big := make([]byte, 64<<20)
	whole, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	var stream bytes.Buffer // a stream does not state its size
	w, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(big)
	w.Close()
	small := whole.EncodeAll(make([]byte, 1000), nil)
	for name, bomb := range map[string]struct {
		s    Strength
		data []byte
	}{
		"s2":                  {Fast, s2.Encode(nil, big)},
		"zstd":                {Strong, whole.EncodeAll(big, nil)},
		"zstd without size":   {Strong, stream.Bytes()},
		"zstd second frame":   {Strong, append(bytes.Clone(small), whole.EncodeAll(big, nil)...)},
		"zstd second unsized": {Strong, append(bytes.Clone(small), stream.Bytes()...)},
	} {
		c := New(bomb.s)
		c.Decode(nil, small, 1000) // the decoder's own memory
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Decode(nil, bomb.data, 1<<20)
		runtime.ReadMemStats(&after)
		if err == nil || fault.ClassOf(err) != fault.ClassPermanent {
			t.Errorf("%s: %v", name, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
			t.Errorf("%s: %d bytes allocated", name, grown)
		}
	}
}

func TestIncompressible(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(prose(1 << 20))
	w.Close()
	half := append(noise(64<<10), prose(64<<10)...)
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"noise": {noise(256 << 10), true}, "gzip": {gz.Bytes(), true}, "small noise": {noise(4096), true}, "tiny": {noise(4095), false},
		"prose": {prose(256 << 10), false}, "half": {half, false}, "zeroes": {make([]byte, 64<<10), false}, "empty": {nil, false},
		"base64": {[]byte(base64.StdEncoding.EncodeToString(noise(64 << 10))), false},
	} {
		if Incompressible(c.data) != c.want {
			t.Errorf("%s: not %v", name, c.want)
		}
	}
	for range 100 { // no true noise is missed
		b := noise(64 << 10)
		if !Incompressible(b) {
			t.Fatal("noise taken for content")
		}
	}
}

func TestPacker(t *testing.T) {
	var p Packer
	var scratch, back []byte
	for _, c := range []struct {
		data []byte
		s    Strength
		want ID
	}{
		{prose(256 << 10), Off, None}, {prose(256 << 10), Fast, S2}, {prose(256 << 10), Strong, Zstd}, {prose(256 << 10), Strongest, Zstd},
		{noise(256 << 10), Fast, None}, {noise(256 << 10), Strong, None}, {noise(1000), Strongest, None}, {nil, Strong, None},
	} {
		out, id, next, err := p.Pack(scratch, c.data, c.s)
		if err != nil || id != c.want {
			t.Fatalf("%s of %d: %s, %v", c.s, len(c.data), id, err)
		}
		scratch = next
		if id == None && len(c.data) > 0 && &out[0] != &c.data[0] {
			t.Errorf("%s: copied", c.s)
		}
		got, next, err := p.Unpack(back, out, id, len(c.data))
		if err != nil || !bytes.Equal(got, c.data) {
			t.Fatalf("%s of %d: %v", c.s, len(c.data), err)
		}
		back = next
		for _, raw := range []int{len(c.data) - 1, len(c.data) + 1} {
			if _, _, err := p.Unpack(nil, out, id, raw); err == nil {
				t.Errorf("%s of %d passed for %d", c.s, len(c.data), raw)
			}
		}
	}
	if _, _, err := p.Unpack(nil, nil, idEnd, 0); err == nil {
		t.Error("unknown codec accepted")
	}
}

func TestNoAllocation(t *testing.T) {
	data := prose(256 << 10)
	for s := range strengthEnd {
		var p Packer
		var scratch, back []byte
		turn := func() {
			out, id, next, err := p.Pack(scratch, data, s)
			if err != nil {
				t.Fatal(err)
			}
			scratch = next
			if _, back, err = p.Unpack(back, out, id, len(data)); err != nil {
				t.Fatal(err)
			}
		}
		turn()
		if n := testing.AllocsPerRun(50, turn); n > 4 { // 0 but for sync.Pool, which forgets on purpose under the race detector
			t.Errorf("%s: %.1f allocations per payload", s, n)
		}
	}
}

// The memory of one encoder, as docs and budgets count on it.
func TestEncoderMemory(t *testing.T) {
	data := prose(2 << 20)
	dst := make([]byte, 0, 4<<20)
	for s, limit := range map[Strength]uint64{Fast: 1 << 20, Strong: 3 << 20, Strongest: 8 << 20} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c := New(s)
		if _, err := c.Encode(dst, data); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held, total := int64(after.HeapAlloc)-int64(before.HeapAlloc), after.TotalAlloc-before.TotalAlloc
		t.Logf("%s: %d KiB held, %d KiB allocated", s, held>>10, total>>10)
		if total > limit {
			t.Errorf("%s: allocated %d bytes", s, total)
		}
		runtime.KeepAlive(c)
	}
}

func FuzzDecode(f *testing.F) {
	for s := range strengthEnd {
		packed, err := New(s).Encode(nil, prose(1000))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(s), packed, 1000)
	}
	codecs := [strengthEnd]Codec{New(Off), New(Fast), New(Strong), New(Strongest)}
	f.Fuzz(func(t *testing.T, s uint8, src []byte, limit int) {
		limit = min(limit, 1<<20)
		out, err := codecs[s%uint8(strengthEnd)].Decode(nil, src, limit)
		if err == nil && len(out) > max(0, limit) {
			t.Fatalf("%d bytes, limit %d", len(out), limit)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	for name, data := range map[string][]byte{"prose": prose(256 << 10), "noise": noise(256 << 10)} {
		for s := Fast; s < strengthEnd; s++ {
			b.Run(name+"/"+s.String(), func(b *testing.B) {
				var p Packer
				var scratch []byte
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if _, _, scratch, err = p.Pack(scratch, data, s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

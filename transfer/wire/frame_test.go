package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"testing"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/codec"
)

// encode makes a header whatever it says, checksum included.
func encode(h Header) (b [HeaderSize]byte) {
	h.put(&b)
	return b
}

func TestHeader(t *testing.T) {
	good := []Header{
		{Type: TypeControl, Length: MaxMessage, Raw: MaxMessage},
		{Type: TypeOps, Codec: codec.Zstd, Length: 10, Raw: MaxPayload, Seq: 1},
		{Type: TypeOps, Length: MaxPayload, Raw: MaxPayload, Seq: 1<<64 - 1, After: 1<<64 - 2},
		{Type: TypeListing, Codec: codec.S2, Length: 1, Raw: 1},
		{Type: typePing},
	}
	for _, want := range good {
		b := encode(want)
		if got, err := parseHeader(&b); err != nil || got != want {
			t.Errorf("%+v: %+v, %v", want, got, err)
		}
	}
	bad := map[string]Header{
		"type 0":              {},
		"type 5":              {Type: typeEnd},
		"codec":               {Type: TypeOps, Codec: 3, Seq: 1},
		"payload too long":    {Type: TypeOps, Codec: codec.S2, Length: MaxPayload + 1, Seq: 1},
		"payload of 4 GiB":    {Type: TypeOps, Codec: codec.S2, Length: 1<<32 - 1, Seq: 1},
		"decoded too long":    {Type: TypeOps, Codec: codec.S2, Raw: MaxPayload + 1, Seq: 1},
		"lengths differ":      {Type: TypeOps, Length: 1, Raw: 2, Seq: 1},
		"operations, no seq":  {Type: TypeOps},
		"waits for itself":    {Type: TypeOps, Seq: 7, After: 7},
		"numbered control":    {Type: TypeControl, Seq: 1},
		"numbered listing":    {Type: TypeListing, After: 1},
		"long message":        {Type: TypeControl, Length: MaxMessage + 1, Raw: MaxMessage + 1},
		"compressed message":  {Type: TypeControl, Codec: codec.S2, Length: 1, Raw: 1},
		"ping with a payload": {Type: typePing, Length: 1, Raw: 1},
	}
	for name, h := range bad {
		b := encode(h)
		if _, err := parseHeader(&b); !errors.Is(err, ErrProtocol) || fault.ClassOf(err) != fault.ClassPermanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	flags := encode(good[0])
	flags[10] = 1
	binary.LittleEndian.PutUint32(flags[12:], 0)
	binary.LittleEndian.PutUint32(flags[12:], crc32.Checksum(flags[:], castagnoli))
	if _, err := parseHeader(&flags); !errors.Is(err, ErrProtocol) {
		t.Errorf("flags: %v", err)
	}
	for i := range HeaderSize * 8 {
		b := encode(good[1])
		b[i/8] ^= 1 << (i % 8)
		if _, err := parseHeader(&b); !errors.Is(err, ErrProtocol) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
	}
}

// rawPipe is a Conn whose other end speaks bytes.
func rawPipe(t testing.TB) (*Conn, net.Conn) {
	t.Helper()
	near, far := memoryPipe()
	c := localConn(near, Options{}.withDefaults())
	t.Cleanup(func() { c.Close() })
	return c, far
}

func TestOversizeIsRefusedBeforeMemory(t *testing.T) {
	c, raw := rawPipe(t)
	b := encode(Header{Type: TypeOps, Codec: codec.S2, Length: MaxPayload + 1, Raw: 1, Seq: 1})
	raw.Write(b[:])
	if _, _, err := c.ReadFrame(nil); !errors.Is(err, ErrProtocol) {
		t.Fatal(err)
	}
	// The connection is over, in both directions.
	if err := c.WriteFrame(Header{Type: TypeListing}, []byte("x")); !errors.Is(err, ErrProtocol) {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(raw); err != nil {
		t.Fatal(err)
	}
}

func TestWriteFrameRefusesBadHeaders(t *testing.T) {
	a, b := Pipe(Options{})
	defer a.Close()
	defer b.Close()
	for _, h := range []Header{{}, {Type: TypeOps}, {Type: TypeControl, Codec: codec.S2}} {
		if err := a.WriteFrame(h, []byte("x")); !errors.Is(err, ErrProtocol) {
			t.Errorf("%+v: %v", h, err)
		}
	}
	if err := a.WriteFrame(Header{Type: TypeListing}, make([]byte, MaxPayload), []byte("x")); !errors.Is(err, ErrProtocol) {
		t.Errorf("oversize: %v", err)
	}
	must(t, a.WriteFrame(Header{Type: TypeListing}, []byte("still "), nil, []byte("alive")))
	if _, payload, err := b.ReadFrame(nil); err != nil || string(payload) != "still alive" {
		t.Errorf("%q, %v", payload, err)
	}
}

func TestReadFrameReusesTheBuffer(t *testing.T) {
	a, b := Pipe(Options{})
	defer a.Close()
	defer b.Close()
	buf := make([]byte, 8)
	for _, text := range []string{"fits", "", "does not fit any more"} {
		must(t, a.WriteFrame(Header{Type: TypeListing}, []byte(text)))
		_, payload, err := b.ReadFrame(buf)
		if err != nil || string(payload) != text {
			t.Fatalf("%q, %v", payload, err)
		}
		if fits := len(text) <= len(buf); len(text) > 0 && (&payload[0] == &buf[0]) != fits {
			t.Errorf("%q: in the buffer: %v", text, !fits)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	ops := encode(Header{Type: TypeOps, Length: 3, Raw: 3, Seq: 9, After: 4})
	ping := encode(Header{Type: typePing})
	f.Add(append(append(ping[:], ops[:]...), "abc"...))
	f.Add(ops[:20])
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, raw := rawPipe(t)
		stream = stream[:min(len(stream), linkBuffer)]
		raw.Write(stream)
		raw.(*memoryConn).out.close()
		used := 0
		var buf []byte
		for {
			h, payload, err := c.ReadFrame(buf)
			if err != nil {
				if !errors.Is(err, ErrProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			used += HeaderSize + len(payload)
			if h.check() != nil || used > len(stream) {
				t.Fatalf("%+v after %d of %d bytes", h, used, len(stream))
			}
			buf = payload
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range []struct {
		kind string
		v    any
	}{
		{kindHello, hello{1, 2, []string{"x"}, "ferry", []byte{0xf6}}},
		{kindRefused, refused{"FERRY-X", "operator", "no\x1b[2J", "try"}},
		{kindJoin, join{[]byte("token"), 3}},
	} {
		body, err := encoding.Marshal(m.v)
		must(f, err)
		payload, err := encoding.Marshal(Message{Kind: m.kind, Body: body})
		must(f, err)
		f.Add(payload)
	}
	f.Add(bytes.Repeat([]byte{0x81}, 100))
	f.Add([]byte{0x82, 0x61, 'x', 0x9b, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := DecodeMessage(payload)
		if err != nil {
			for _, r := range err.Error() {
				if r < ' ' {
					t.Fatalf("control character in %q", err)
				}
			}
			return
		}
		m.Decode(new(hello))
		m.Decode(new(ready))
		m.Decode(new(join))
		m.Decode(new(any))
	})
}

func TestMessagesAreBounded(t *testing.T) {
	for name, payload := range map[string][]byte{
		"empty":             {},
		"not an array":      {0x01},
		"one element":       {0x81, 0x61, 'x'},
		"empty kind":        {0x82, 0x60, 0x00},
		"long kind":         append([]byte{0x82, 0x78, 33}, append(bytes.Repeat([]byte{'k'}, 33), 0)...),
		"kind not UTF-8":    {0x82, 0x61, 0xff, 0x00},
		"indefinite length": {0x82, 0x61, 'x', 0x9f, 0xff},
		"tag":               {0x82, 0x61, 'x', 0xc0, 0x60},
		"deep":              append([]byte{0x82, 0x61, 'x'}, append(bytes.Repeat([]byte{0x81}, 20), 0)...),
		"huge array":        {0x82, 0x61, 'x', 0x9a, 0x7f, 0xff, 0xff, 0xff},
		"trailing bytes":    {0x82, 0x61, 'x', 0x00, 0x00},
	} {
		if _, err := DecodeMessage(payload); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := DecodeMessage([]byte{0x82, 0x61, 'x', 0xa2, 0x61, 'a', 1, 0x61, 'a', 2})
	if err == nil {
		err = m.Decode(new(map[string]int))
	}
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("duplicate key: %v", err)
	}
}

func TestRefusedIsCleaned(t *testing.T) {
	a, b := Pipe(Options{})
	defer b.Close()
	go a.Refuse(fault.Operator("FERRY-\x1b[31mX", "try\r\nthis", errors.New("no\x1b[2J\x00"+string(bytes.Repeat([]byte("x"), 10_000)))))
	_, err := b.ReadMessage()
	if fault.CodeOf(err) != "FERRY-?[31mX" || fault.RemedyOf(err) != "try??this" || len(err.Error()) > 2100 || !bytes.Contains([]byte(err.Error()), []byte("no?[2J?x")) {
		t.Fatalf("%.100q %q %q", err, fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func benchmarkFrames(b *testing.B, p *pair) {
	payload := make([]byte, 256<<10)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	done := make(chan error, 1)
	go func() {
		var buf []byte
		for {
			var err error
			if _, buf, err = p.in.ReadFrame(buf); err != nil {
				done <- err
				return
			}
		}
	}()
	var seq uint64
	for b.Loop() {
		seq++
		must(b, p.out.WriteFrame(Header{Type: TypeOps, Seq: seq}, payload[:1000], payload[1000:]))
	}
	p.out.Close()
	if err := <-done; !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}

func BenchmarkFramesTLS(b *testing.B) { benchmarkFrames(b, openPair(b, Options{}, Options{})) }

func BenchmarkFramesLocal(b *testing.B) {
	l, dial := Local(Options{})
	defer l.Close()
	benchmarkFrames(b, openOver(b, l, dial))
}

func TestNoAllocationPerFrame(t *testing.T) {
	p := openPair(t, Options{}, Options{})
	payload := make([]byte, 32<<10) // fits socket buffers: nobody reads while this goroutine writes
	var buf []byte
	var seq uint64
	turn := func() {
		seq++
		must(t, p.out.WriteFrame(Header{Type: TypeOps, Seq: seq}, payload))
		var err error
		_, buf, err = p.in.ReadFrame(buf)
		must(t, err)
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n > 4 { // 0 but for sync.Pool, which forgets on purpose under the race detector
		t.Errorf("%.1f allocations per frame", n)
	}
}

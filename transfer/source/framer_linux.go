package source

import (
	"time"

	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/session"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// framer compresses operations and sends them on one connection. One goroutine.
type framer struct {
	conn    *wire.Conn
	effort  *session.Effort
	pack    codec.Packer
	scratch [][]byte
	frames  []frame
}

type frame struct {
	payload []byte
	codec   codec.ID
	raw     int
}

func newFramer(c *wire.Conn, e *session.Effort) *framer { return &framer{conn: c, effort: e} }

// encode makes frames of ops, cut at the given offsets. They are good until the next call.
func (f *framer) encode(ops []byte, cuts []int) error {
	f.frames = f.frames[:0]
	from := 0
	for i := 0; i <= len(cuts); i++ {
		to := len(ops)
		if i < len(cuts) {
			to = cuts[i]
		}
		if to == from {
			continue
		}
		if len(f.scratch) <= len(f.frames) {
			f.scratch = append(f.scratch, nil)
		}
		n := len(f.frames)
		began := time.Now()
		out, id, scratch, err := f.pack.Pack(f.scratch[n], ops[from:to], f.effort.Chooser.Strength())
		f.scratch[n] = scratch
		if err != nil {
			return err
		}
		f.effort.Packing.Add(int64(time.Since(began)))
		f.frames = append(f.frames, frame{out, id, to - from})
		from = to
	}
	return nil
}

// send writes the encoded frames with the numbers from first on. chain makes each wait for the one before.
func (f *framer) send(first, after uint64, chain bool) error {
	for i, fr := range f.frames {
		h := wire.Header{Type: wire.TypeOps, Codec: fr.codec, Raw: fr.raw, Seq: first + uint64(i), After: after}
		if chain {
			h.After = h.Seq - 1
		}
		began := time.Now()
		if err := f.conn.WriteFrame(h, fr.payload); err != nil {
			return err
		}
		f.effort.Blocked.Add(int64(time.Since(began)))
		f.effort.Raw.Add(int64(fr.raw))
		f.effort.Wire.Add(int64(len(fr.payload)))
	}
	return nil
}

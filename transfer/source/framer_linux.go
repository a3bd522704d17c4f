package source

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// framer compresses operations and sends them on one connection. One goroutine.
type framer struct {
	conn    *wire.Conn
	effort  *effort
	pack    codec.Packer
	scratch [][]byte
	frames  []frame
}

type frame struct {
	payload []byte
	codec   codec.ID
	raw     int
}

func newFramer(c *wire.Conn, e *effort) *framer { return &framer{conn: c, effort: e} }

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
		out, id, scratch, err := f.pack.Pack(f.scratch[n], ops[from:to], f.effort.chooser.Strength())
		f.scratch[n] = scratch
		if err != nil {
			return err
		}
		f.effort.packing.Add(int64(time.Since(began)))
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
		f.effort.blocked.Add(int64(time.Since(began)))
		f.effort.raw.Add(int64(fr.raw))
		f.effort.wire.Add(int64(len(fr.payload)))
	}
	return nil
}

// effort measures what all framers of a pass spend, for the chooser of the strength.
type effort struct {
	chooser *codec.Chooser
	senders int
	raw     atomic.Int64 // bytes
	wire    atomic.Int64
	blocked atomic.Int64 // nanoseconds in writes
	packing atomic.Int64
}

// effortPeriod is how often the chooser looks.
const effortPeriod = 250 * time.Millisecond

// observe feeds the chooser until ctx is done.
func (e *effort) observe(ctx context.Context) {
	tick := time.NewTicker(effortPeriod)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.chooser.Observe(codec.Sample{
				Period: now.Sub(last), Raw: e.raw.Swap(0), Wire: e.wire.Swap(0), Blocked: time.Duration(e.blocked.Swap(0)),
				Compress: time.Duration(e.packing.Swap(0)), Senders: e.senders, CPUs: runtime.GOMAXPROCS(0),
			})
			last = now
		}
	}
}

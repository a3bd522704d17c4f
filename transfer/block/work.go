package block

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/transfer/block/device"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/extent"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// zeroDigest is that of a whole chunk of zeroes.
var zeroDigest = chunk.Sum(make([]byte, chunk.Size))

// worker takes jobs from the plan: one reads while another digests, compresses or waits for the link. Each has memory for one job.
type worker struct {
	p       *pass
	conn    *wire.Conn
	buf     []byte // content of the job's chunks, back to back
	pack    codec.Packer
	scratch []byte
	raw     []byte
	table   []byte
	pieces  []piece
	content [][]byte
}

// workersPerStream lets the disk, the processors and the link be busy at once.
const workersPerStream = 2

// each runs do for all jobs of a list of extents, side by side. do is told of a job that was read and digested.
func (p *pass) each(ctx context.Context, list extent.List, do func(*worker, *job) error) error {
	jobs := &plan{list: list}
	g, ctx := errgroup.WithContext(ctx)
	effort, stop := context.WithCancel(ctx)
	observed := make(chan struct{})
	go func() {
		defer close(observed)
		p.effort.Observe(effort)
	}()
	for i := range workersPerStream * len(p.s.Streams()) {
		g.Go(func() error {
			w := &worker{p: p, conn: p.s.Streams()[i%len(p.s.Streams())], buf: device.Buffer(jobChunks * chunk.Size)}
			var j job
			for ctx.Err() == nil && jobs.next(&j) {
				if err := w.read(ctx, &j); err != nil {
					return err
				}
				if err := do(w, &j); err != nil {
					return err
				}
			}
			return context.Cause(ctx)
		})
	}
	err := g.Wait()
	stop()
	<-observed
	return err
}

// read fills buf with the content of the job's chunks, and found with their digests.
func (w *worker) read(ctx context.Context, j *job) error {
	clean := 0
	for _, e := range j.used {
		at := j.slot(e.Start)*chunk.Size + int(e.Start%chunk.Size)
		clear(w.buf[clean:at])
		clean = at + int(e.Size)
		if err := w.readPiece(ctx, e, w.buf[at:clean]); err != nil {
			return err
		}
	}
	clear(w.buf[clean : len(j.chunks)*chunk.Size])
	for i, c := range j.chunks {
		b := w.slot(i, c)
		if len(b) == chunk.Size && chunk.IsZero(b) {
			j.found[i] = zeroDigest
		} else {
			j.found[i] = chunk.Sum(b)
		}
	}
	return nil
}

// slot returns the content of chunk c, which lies in slot i. The last chunk of the disk may be shorter.
func (w *worker) slot(i int, c int64) []byte {
	return w.buf[i*chunk.Size:][:min(chunk.Size, w.p.src.Size()-c*chunk.Size)]
}

// readPiece reads what is in use; holes of an image are zeroes without being read, and so is what cannot be read.
func (w *worker) readPiece(ctx context.Context, e extent.Extent, b []byte) error {
	data := w.p.data.Within(e)
	if data.Bytes() < e.Size {
		clear(b)
	}
	for _, d := range data {
		part := b[d.Start-e.Start:][:d.Size]
		bad, err := w.p.src.Fill(ctx, part, d.Start)
		if err != nil {
			return err
		}
		w.p.count.read.Add(d.Size - bad.Bytes())
		w.p.lose(bad)
	}
	return nil
}

// compare decides which chunks of a job are sent, and sends them.
func (w *worker) compare(j *job) error {
	if err := w.p.digests.of(j.chunks, j.old[:]); err != nil {
		return err
	}
	defer w.p.count.bytes.Add(j.used.Bytes())
	changed, known := 0, 0
	for i := range j.chunks {
		j.send[i] = !j.old[i].Equal(j.found[i])
		if !j.send[i] {
			j.eachUsed(i, func(e extent.Extent) { w.p.count.saved.Add(e.Size) })
			continue
		}
		changed++
		if j.old[i].Known() {
			known++
			if err := w.p.digests.set(j.chunks[i], chunk.Digest{}); err != nil {
				return err
			}
		}
	}
	if changed == 0 {
		return nil
	}
	if known > 0 && !w.p.blind { // what is sent from here on is not what the map says
		if err := w.p.digests.sync(); err != nil {
			return err
		}
	}
	w.writes(j)
	if err := w.frame(opWrite, j); err != nil {
		return err
	}
	crashpoint.Hit("block.sent")
	return nil
}

// writes lists the pieces of the frame that brings the chunks to be sent.
func (w *worker) writes(j *job) {
	w.pieces, w.content = w.pieces[:0], w.content[:0]
	add := func(start, size int64, zero bool) {
		if n := len(w.pieces); n > 0 && w.pieces[n-1].start+w.pieces[n-1].size == start && w.pieces[n-1].zero == zero {
			w.pieces[n-1].size += size
		} else if size > 0 {
			w.pieces = append(w.pieces, piece{start, size, zero})
		}
	}
	for i, c := range j.chunks {
		if !j.send[i] {
			continue
		}
		start := c * chunk.Size
		b := w.slot(i, c)
		if j.found[i] == zeroDigest {
			add(start, int64(len(b)), true)
			continue
		}
		at := start
		j.eachUsed(i, func(e extent.Extent) {
			add(at, e.Start-at, true)
			add(e.Start, e.Size, false)
			w.content = append(w.content, b[e.Start-start:e.End()-start])
			at = e.End()
		})
		add(at, start+int64(len(b))-at, true)
	}
}

// gatherOver is how many pieces of content make it worth to copy them together: each write to a connection is a record of TLS.
const gatherOver = 2 * jobChunks

// frame packs and sends pieces and content; j is the job that it is of, nil for one that brings nothing to remember. The frame's number is given out when it goes, so that none
// is missing for long.
func (w *worker) frame(op byte, j *job) error {
	p := w.p
	w.table = appendTable(w.table[:0], op, w.pieces)
	raw := len(w.table)
	for _, b := range w.content {
		raw += len(b)
	}
	h := wire.Header{Type: wire.TypeOps, Raw: raw}
	payload := append([][]byte{w.table}, w.content...)
	if strength := p.effort.Chooser.Strength(); op == opWrite && (strength != codec.Off || len(payload) > gatherOver) {
		w.raw = w.raw[:0]
		for _, b := range payload {
			w.raw = append(w.raw, b...)
		}
		began := time.Now()
		out, id, scratch, err := w.pack.Pack(w.scratch, w.raw, strength)
		w.scratch = scratch
		if err != nil {
			return err
		}
		p.effort.Packing.Add(int64(time.Since(began)))
		h.Codec, payload = id, [][]byte{out}
	}
	var err error
	if h.Seq, err = p.sent.number(op, j, p.s); err != nil {
		return err
	}
	began := time.Now()
	if err := w.conn.WriteFrame(h, payload...); err != nil {
		return p.s.Why(err)
	}
	p.effort.Blocked.Add(int64(time.Since(began)))
	size := 0
	for _, b := range payload {
		size += len(b)
	}
	p.effort.Raw.Add(int64(raw))
	p.effort.Wire.Add(int64(size))
	p.count.raw.Add(int64(raw))
	return nil
}

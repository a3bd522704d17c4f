package block

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block/device"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// reception is the target's end of one session.
type reception struct {
	in       *wire.Incoming
	receiver *Receiver
	log      *slog.Logger
	greeting Greeting
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when the session has let go of the target

	record  *record
	disk    *device.Target // nil for an image that is not there yet
	applied *target.Applied
	flushes chan uint64 // wanted to be durable
	commits chan file.Commit
	opened  bool
	over    atomic.Bool // the pass is committed
}

// errDone ends a session whose source said goodbye.
var errDone = errors.New("done")

func newReception(r *Receiver, in *wire.Incoming, g Greeting, log *slog.Logger, cancel context.CancelCauseFunc) *reception {
	return &reception{
		in: in, receiver: r, log: log, greeting: g, cancel: cancel, ended: make(chan struct{}), applied: target.NewApplied(),
		flushes: make(chan uint64, 16), commits: make(chan file.Commit, 1),
	}
}

// open claims the target, as far as it is there.
func (s *reception) open() error {
	if s.greeting.Size <= 0 || !s.in.Greeting.Can(Feature) {
		return fault.Operator("FERRY-TARGET-LEVEL", "start the target with --into dir:PATH, or migrate a disk or an image",
			errors.New("the target receives a disk, not files"))
	}
	path, err := s.receiver.realPath()
	if err != nil {
		return err
	}
	if s.record, err = loadRecord(s.receiver.State, path); err != nil {
		return err
	}
	s.disk, err = s.claim(false)
	return err
}

// close lets go of the target, unless the next session goes on with it.
func (s *reception) close() {
	if s.disk != nil && s.disk != s.receiver.disk {
		s.disk.Close()
	}
}

// serve answers the hello and handles the session until it ends.
func (s *reception) serve(ctx context.Context) error {
	r := s.record
	reply := Reply{Disk: r.Disk, Source: r.Source, Pass: r.Pass, Committed: r.Committed, Seq: r.Seq, Type: "image", Label: r.Path, Empty: s.disk == nil}
	if s.disk != nil {
		reply.Size, reply.Altered = s.disk.Size(), r.altered()
		if s.disk.IsDevice() {
			reply.Type = "device"
		}
	}
	if err := s.in.Accept(wire.Hello{Features: []string{Feature}, Software: s.receiver.Software, Body: reply}); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := s.in.Control.CloseOn(ctx)
	defer stop()
	g.Go(func() error { return s.control(ctx) })
	g.Go(func() error { return s.join(ctx, g) })
	g.Go(func() error { return s.commit(ctx) })
	if err := g.Wait(); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// fail tells the source why the session ends.
func (s *reception) fail(err error) error {
	if err == nil || errors.Is(err, errDone) || errors.Is(err, errReplaced) || fault.Cancelled(err) {
		return err
	}
	_ = s.in.Control.SendMessage(file.MsgFail, file.FailOf(err)) // the connection may be what failed
	return err
}

// control handles the source's messages. Nothing in it waits for the disk for long, so pings are always heard.
func (s *reception) control(ctx context.Context) error {
	for {
		m, err := s.in.Control.ReadMessage()
		if err != nil {
			return err
		}
		if err := s.message(m); err != nil {
			return s.fail(err)
		}
	}
}

func (s *reception) message(m wire.Message) error {
	if m.Kind != file.MsgOpen && m.Kind != file.MsgBye && !s.opened {
		return protocolError("message %q before %q", m.Kind, file.MsgOpen)
	}
	switch m.Kind {
	case file.MsgOpen:
		var v Open
		if err := m.Decode(&v); err != nil {
			return err
		}
		return s.openPass(v)
	case file.MsgFlush:
		var v file.Flush
		if err := m.Decode(&v); err != nil {
			return err
		}
		return hand(s.flushes, v.Seq)
	case file.MsgCommit:
		var v file.Commit
		if err := m.Decode(&v); err != nil {
			return err
		}
		return hand(s.commits, v)
	case file.MsgBye:
		var v file.Bye
		if err := m.Decode(&v); err != nil {
			return err
		}
		if v.Final && s.receiver.Done != nil {
			s.receiver.Done(s.greeting.Label)
		}
		return errDone
	}
	return protocolError("message %q", m.Kind)
}

func protocolError(format string, args ...any) error {
	return fault.Permanent(fmt.Errorf("%w: %s", wire.ErrProtocol, fmt.Sprintf(format, args...)))
}

// hand passes v on without blocking: an honest source waits for the answer before it asks again.
func hand[T any](c chan T, v T) error {
	select {
	case c <- v:
		return nil
	default:
		return protocolError("too many requests at once")
	}
}

// openPass makes the pass durable, then lets frames in.
func (s *reception) openPass(o Open) (err error) {
	if s.opened || o.Pass.Known() == s.greeting.ReadOnly {
		return protocolError("open")
	}
	s.opened = true
	if s.greeting.ReadOnly {
		if s.disk == nil {
			return fault.Operator("FERRY-TARGET-MISSING", "check the path", fmt.Errorf("there is no copy at %s", s.record.Path))
		}
		return s.in.Control.SendMessage(file.MsgOpened, file.Opened{})
	}
	if s.receiver.disk == nil {
		s.close()
		if s.disk, err = s.claim(true); err != nil {
			return err
		}
		s.receiver.disk = s.disk
	}
	r := s.record
	r.Source, r.Label, r.Pass, r.Committed, r.Seq, r.Left = s.greeting.Source, s.greeting.Label, o.Pass, false, 0, ""
	if err := r.save(); err != nil {
		return err
	}
	crashpoint.Hit("block.opened")
	return s.in.Control.SendMessage(file.MsgOpened, file.Opened{})
}

// join takes data connections in as they come.
func (s *reception) join(ctx context.Context, g *errgroup.Group) error {
	for {
		c, index, err := s.in.Join(ctx)
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer c.Close()
			stop := c.CloseOn(ctx)
			defer stop()
			return s.fail(s.stream(ctx, c, index))
		})
	}
}

// stream applies the frames of one data connection.
func (s *reception) stream(ctx context.Context, c *wire.Conn, index int) error {
	var buf, decoded []byte
	var unpack codec.Packer
	w := &writer{s: s}
	for {
		h, payload, err := c.ReadFrame(buf)
		if err != nil && s.over.Load() {
			return nil // the source has its answer and goes; the goodbye may still be on its way
		}
		if err != nil {
			return fmt.Errorf("data connection %d: %w", index, err)
		}
		buf = payload[:cap(payload)]
		if h.Type != wire.TypeOps || !s.opened {
			return protocolError("frame of type %d on a data connection", h.Type)
		}
		out, scratch, err := unpack.Unpack(decoded, payload, h.Codec, h.Raw)
		if err != nil {
			return err
		}
		decoded = scratch
		if err := w.apply(ctx, out); err != nil {
			return err
		}
		crashpoint.Hit("block.applied")
		if err := s.applied.Done(h.Seq); err != nil {
			return err
		}
	}
}

// commitEvery is how long what was written stays unacknowledged when nobody waits for it: as long as a sync took, if that is more, and
// commitLatest at most.
const (
	commitEvery  = 2 * time.Second
	commitLatest = 30 * time.Second
)

// commit makes what was written durable, every now and then and when asked.
func (s *reception) commit(ctx context.Context) error {
	every := s.receiver.Commit
	if every <= 0 {
		every = commitEvery
	}
	next := time.NewTimer(every)
	defer next.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-next.C:
			began := time.Now()
			if seq := s.applied.UpTo(); seq > s.record.Seq && s.opened {
				err = s.durable(seq)
			}
			next.Reset(max(every, min(4*time.Since(began), commitLatest)))
		case seq := <-s.flushes:
			if err = s.applied.Await(ctx, seq); err == nil {
				err = s.durable(seq)
			}
		case v := <-s.commits:
			err = s.finish(ctx, v)
		}
		if err != nil {
			return s.fail(err)
		}
	}
}

// durable syncs the target and acknowledges everything that was applied before.
func (s *reception) durable(seq uint64) error {
	if s.greeting.ReadOnly {
		return s.in.Control.SendMessage(file.MsgAck, file.Ack{Seq: seq})
	}
	seq = max(seq, s.applied.UpTo())
	if seq > s.record.Seq && !s.record.Committed {
		if err := s.disk.Sync(); err != nil {
			return err
		}
		crashpoint.Hit("block.synced")
		s.record.Seq = seq
		if err := s.record.save(); err != nil {
			return err
		}
		crashpoint.Hit("block.saved")
	}
	return s.in.Control.SendMessage(file.MsgAck, file.Ack{Seq: seq})
}

// finish ends the pass.
func (s *reception) finish(ctx context.Context, v file.Commit) error {
	if v.Pass != s.record.Pass || s.greeting.ReadOnly {
		return protocolError("commit of another pass")
	}
	if err := s.applied.Await(ctx, v.Seq); err != nil {
		return err
	}
	if err := s.disk.Sync(); err != nil {
		return err
	}
	s.record.Seq, s.record.Committed, s.record.Left = v.Seq, true, trace(s.record.Path)
	if err := s.record.save(); err != nil {
		return err
	}
	crashpoint.Hit("block.kept")
	s.over.Store(true)
	s.log.Info("pass committed", "source", s.greeting.Label, "frames", v.Seq)
	return s.in.Control.SendMessage(file.MsgDone, file.Done{})
}

// writer applies frames. One goroutine.
type writer struct {
	s      *reception
	pieces []piece
	buf    []byte
}

// apply writes what a frame brings, or compares what it asks about.
func (w *writer) apply(ctx context.Context, frame []byte) error {
	s := w.s
	op, pieces, content, err := parseFrame(frame, min(s.greeting.Size, s.disk.Size()), w.pieces)
	if err != nil {
		return err
	}
	w.pieces = pieces
	if op == opCheck {
		return w.check(ctx, content)
	}
	if s.greeting.ReadOnly || s.record.Committed {
		return protocolError("a write where none may be")
	}
	for _, p := range pieces {
		if p.zero {
			err = w.zero(ctx, p)
		} else {
			_, err = s.disk.WriteAt(content[:p.size], p.start)
			content = content[p.size:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var zeroes [chunk.Size]byte

// zero makes a piece zeroes. What is less than a chunk costs less written than punched.
func (w *writer) zero(ctx context.Context, p piece) error {
	if p.size >= chunk.Size {
		return w.s.disk.Zero(ctx, p.start, p.size)
	}
	_, err := w.s.disk.WriteAt(zeroes[:p.size], p.start)
	return err
}

// check reads chunks back and tells which differ. A part that cannot be read differs.
func (w *writer) check(ctx context.Context, digests []byte) error {
	var differ []int64
	size := w.s.greeting.Size
	if w.buf == nil {
		w.buf = device.Buffer(jobChunks * chunk.Size)
	}
	for _, p := range w.pieces {
		for at := p.start; at < p.start+p.size; at += jobChunks {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n := min(jobChunks, p.start+p.size-at)
			b := w.buf[:min(n*chunk.Size, size-at*chunk.Size)]
			got, err := w.s.disk.ReadAt(b, at*chunk.Size)
			if err != nil && got < len(b) {
				w.s.log.Warn("the target cannot be read back", "offset", at*chunk.Size+int64(got), "error", err)
			}
			for i := range n {
				content := b[i*chunk.Size : min((i+1)*chunk.Size, int64(len(b)))]
				short := i*chunk.Size+int64(len(content)) > int64(got)
				if short || !chunk.Sum(content).Equal(chunk.Digest(digests[:chunk.DigestSize])) {
					differ = append(differ, at+i)
				}
				digests = digests[chunk.DigestSize:]
			}
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return w.s.in.Control.SendMessage(MsgDiffer, Differ{Chunks: differ})
}

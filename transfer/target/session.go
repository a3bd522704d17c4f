package target

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
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// session is one connection of a source to one tree.
type session struct {
	in       *wire.Incoming
	receiver *Receiver
	log      *slog.Logger
	greeting file.Greeting
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when the session has let go of the tree

	tree    *Tree
	record  *record
	width   *Width
	applied *Applied
	flushes chan uint64 // wanted to be durable
	commits chan file.Commit
	lists   chan file.List
	opened  bool
	ro      bool
	over    atomic.Bool // the pass is committed
}

// errDone ends a session whose source said goodbye.
var errDone = errors.New("done")

// open opens the tree and decides what to say of it.
func (s *session) open(path string) (err error) {
	if s.record, err = loadRecord(s.receiver.State, path); err != nil {
		return err
	}
	s.tree, err = OpenTree(path, TreeOptions{StateDir: s.receiver.State})
	return err
}

// serve answers the hello and handles the session until it ends.
func (s *session) serve(ctx context.Context) error {
	state, err := s.tree.State()
	if err != nil {
		return errors.Join(err, s.in.Refuse(err))
	}
	altered, err := s.record.judge(state)
	if err != nil {
		return errors.Join(err, s.in.Refuse(err))
	}
	r := s.record
	reply := file.TreeReply{
		Tree: r.Tree, Source: r.Source, Pass: r.Pass, Committed: r.Committed, Seq: r.Seq, Altered: altered, Empty: state.Empty,
		Type: state.Filesystem, Free: state.Free, Overwrite: s.receiver.Overwrite, Label: r.Path,
	}
	reply.Lacks, reply.Limits = s.tree.Foresee()
	s.flushes, s.commits, s.lists = make(chan uint64, 16), make(chan file.Commit, 1), make(chan file.List, 1)
	s.width = NewWidth()
	if err := s.in.Accept(wire.Hello{Features: []string{"file"}, Software: s.receiver.Software, Body: reply}); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := s.in.Control.CloseOn(ctx)
	defer stop()
	g.Go(func() error { return s.control(ctx) })
	g.Go(func() error { return s.join(ctx, g) })
	g.Go(func() error { return s.commit(ctx) })
	err = g.Wait()
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// fail tells the source why the session ends.
func (s *session) fail(err error) error {
	if err == nil || errors.Is(err, errDone) || errors.Is(err, errReplaced) || fault.Cancelled(err) {
		return err
	}
	_ = s.in.Control.SendMessage(file.MsgFail, file.FailOf(err)) // the connection may be what failed
	return err
}

// control handles the source's messages. Nothing in it waits for the disk for long, so pings are always heard.
func (s *session) control(ctx context.Context) error {
	for {
		m, err := s.in.Control.ReadMessage()
		if err != nil {
			return err
		}
		if err := s.message(ctx, m); err != nil {
			return s.fail(err)
		}
	}
}

func (s *session) message(ctx context.Context, m wire.Message) error {
	if m.Kind != file.MsgOpen && m.Kind != file.MsgBye && !s.opened {
		return protocolError("message %q before %q", m.Kind, file.MsgOpen)
	}
	switch m.Kind {
	case file.MsgOpen:
		var v file.Open
		if err := m.Decode(&v); err != nil {
			return err
		}
		return s.openPass(v)
	case file.MsgFlush:
		var v file.Flush
		if err := m.Decode(&v); err != nil {
			return err
		}
		return hand(ctx, s.flushes, v.Seq)
	case file.MsgCommit:
		var v file.Commit
		if err := m.Decode(&v); err != nil {
			return err
		}
		return hand(ctx, s.commits, v)
	case file.MsgList:
		var v file.List
		if err := m.Decode(&v); err != nil {
			return err
		}
		return hand(ctx, s.lists, v)
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

// hand passes v on without blocking: an honest source waits for the answer before it asks again.
func hand[T any](_ context.Context, c chan T, v T) error {
	select {
	case c <- v:
		return nil
	default:
		return protocolError("too many requests at once")
	}
}

// openPass makes the pass durable, then lets operations in.
func (s *session) openPass(o file.Open) error {
	if s.opened || !o.Pass.Known() && !o.ReadOnly {
		return protocolError("open")
	}
	s.opened, s.ro = true, o.ReadOnly
	if o.ReadOnly {
		return s.in.Control.SendMessage(file.MsgOpened, file.Opened{})
	}
	state, err := s.tree.State()
	if err != nil {
		return err
	}
	r := s.record
	if r.Source != s.greeting.SourceTree && !state.Empty && !o.Overwrite && !s.receiver.Overwrite {
		return fault.Operator("FERRY-TARGET-NOT-EMPTY", "give an empty directory, or --overwrite to replace what is there",
			fmt.Errorf("the target %s holds data that this source did not write", r.Path))
	}
	r.Source, r.Label = s.greeting.SourceTree, s.greeting.Label
	r.Pass, r.Committed, r.Seq, r.Root = o.Pass, false, 0, markOf(state)
	if err := r.save(); err != nil {
		return err
	}
	crashpoint.Hit("target.opened")
	if err := s.tree.BeginPass(!o.First); err != nil {
		return err
	}
	return s.in.Control.SendMessage(file.MsgOpened, file.Opened{})
}

// join takes data connections in as they come.
func (s *session) join(ctx context.Context, g *errgroup.Group) error {
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
func (s *session) stream(ctx context.Context, c *wire.Conn, index int) error {
	var buf, decoded []byte
	var unpack codec.Packer
	report := &reporter{s.in.Control}
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
		if err := s.applied.Await(ctx, h.After); err != nil {
			return err
		}
		if err := s.width.Acquire(ctx); err != nil {
			return err
		}
		err = s.tree.Apply(out, report)
		s.width.Release(len(out))
		if err != nil {
			return err
		}
		crashpoint.Hit("target.applied")
		if err := s.applied.Done(h.Seq); err != nil {
			return err
		}
	}
}

// commit makes what was applied durable, every now and then and when asked, and does what needs a quiet tree.
func (s *session) commit(ctx context.Context) error {
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
			if seq := s.applied.UpTo(); seq > s.record.Seq {
				err = s.durable(seq)
			}
			next.Reset(rest(every, time.Since(began)))
		case seq := <-s.flushes:
			if err = s.applied.Await(ctx, seq); err == nil {
				err = s.durable(seq)
			}
		case v := <-s.lists:
			err = s.list(ctx, v)
		case v := <-s.commits:
			err = s.finish(ctx, v)
		}
		if err != nil {
			return s.fail(err)
		}
	}
}

// Unless somebody waits for it, what was applied becomes durable commitEvery after the last time, or later where a commit is dear:
// writers stall while the filesystem commits, so commits take a fifth of the time at most, but one comes every commitLatest.
const (
	commitEvery  = 2 * time.Second
	commitLatest = 30 * time.Second
)

// rest is how long to wait after a commit that took so long.
func rest(every, took time.Duration) time.Duration {
	return max(every, min(4*took, commitLatest))
}

// durable syncs the target and acknowledges everything that was applied before.
func (s *session) durable(seq uint64) error {
	if seq == 0 || s.ro || s.record.Committed {
		if seq > 0 && s.ro {
			return s.in.Control.SendMessage(file.MsgAck, file.Ack{Seq: seq})
		}
		return nil
	}
	seq = max(seq, s.applied.UpTo())
	if seq > s.record.Seq {
		if err := s.tree.Sync(); err != nil {
			return err
		}
		crashpoint.Hit("target.synced")
		s.record.Seq = seq
		if err := s.record.save(); err != nil {
			return err
		}
		crashpoint.Hit("target.saved")
	}
	return s.in.Control.SendMessage(file.MsgAck, file.Ack{Seq: seq})
}

// finish ends the pass.
func (s *session) finish(ctx context.Context, v file.Commit) error {
	if v.Pass != s.record.Pass || s.ro {
		return protocolError("commit of another pass")
	}
	if err := s.applied.Await(ctx, v.Seq); err != nil {
		return err
	}
	if err := s.tree.EndPass(); err != nil {
		return err
	}
	crashpoint.Hit("target.ended")
	if err := s.tree.Sync(); err != nil {
		return err
	}
	state, err := s.tree.State()
	if err != nil {
		return err
	}
	s.record.Seq, s.record.Committed, s.record.Root = v.Seq, true, markOf(state)
	if err := s.record.save(); err != nil {
		return err
	}
	crashpoint.Hit("target.committed")
	s.over.Store(true)
	s.log.Info("pass committed", "source", s.greeting.Label, "frames", v.Seq)
	return s.in.Control.SendMessage(file.MsgDone, file.Done{})
}

// list sends the entries of the tree.
func (s *session) list(ctx context.Context, v file.List) error {
	l := &lister{conn: s.in.Control}
	if err := s.tree.List(ctx, ListOptions{Content: v.Content}, l.entry, l.run); err != nil {
		return err
	}
	if err := l.send(); err != nil {
		return err
	}
	return s.in.Control.SendMessage(file.MsgListed, file.Listed{Entries: l.entries})
}

// lister packs a listing into frames.
type lister struct {
	conn    *wire.Conn
	pack    codec.Packer
	raw     []byte
	path    []byte
	scratch []byte
	entries int64
}

const listFrame = 256 << 10

func (l *lister) entry(e *file.Entry) error {
	if len(l.raw) > listFrame {
		if err := l.send(); err != nil {
			return err
		}
	}
	l.raw = file.AppendListEntry(l.raw, e, l.path)
	l.path = append(l.path[:0], e.Path...)
	l.entries++
	return nil
}

func (l *lister) run(first int64, digests []byte) error {
	if len(l.raw) > listFrame {
		if err := l.send(); err != nil {
			return err
		}
	}
	l.raw = file.AppendListRun(l.raw, first, digests)
	return nil
}

func (l *lister) send() error {
	if len(l.raw) == 0 {
		return nil
	}
	out, id, scratch, err := l.pack.Pack(l.scratch, l.raw, codec.Fast)
	if err != nil {
		return err
	}
	l.scratch = scratch
	h := wire.Header{Type: wire.TypeListing, Codec: id, Raw: len(l.raw)}
	err = l.conn.WriteFrame(h, out)
	l.raw, l.path = l.raw[:0], l.path[:0]
	return err
}

// reporter tells the source what Apply could not do. A message that cannot be sent ends the session elsewhere.
type reporter struct{ conn *wire.Conn }

// Loss passes a loss on.
func (r *reporter) Loss(kind LossKind, path []byte, detail string) {
	_ = r.conn.SendMessage(file.MsgLoss, file.Loss{Kind: kind.String(), Path: path, Detail: detail})
}

// Need passes a need on.
func (r *reporter) Need(path []byte, why string) {
	_ = r.conn.SendMessage(file.MsgNeed, file.Need{Path: path, Why: why})
}

// Differ passes a difference on.
func (r *reporter) Differ(path []byte, field, want, got string) {
	_ = r.conn.SendMessage(file.MsgDiffer, file.Differ{Path: path, Field: field, Want: want, Got: got})
}

package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block/device"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Receiver accepts sessions and writes what they bring to one device or image, one session at a time. The device stays claimed from the
// first session that writes until Serve ends.
type Receiver struct {
	Path      string
	Device    bool          // Path is a device; otherwise an image file, made if it is missing
	State     string        // directory
	Software  string        // for the source's log
	Overwrite bool          // data of others may be replaced
	Commit    time.Duration // rest between two syncs of what was written; 0: 2 s
	Log       *slog.Logger
	Done      func(source string) // told when a migration is complete; may be nil

	mu     sync.Mutex
	active *reception
	disk   *device.Target // once a session writes
}

// Serve handles sessions until ctx is done or the listener fails. It returns once all sessions have ended.
func (r *Receiver) Serve(ctx context.Context, l *wire.Listener) error {
	defer func() {
		if r.disk != nil {
			r.disk.Close()
		}
	}()
	return l.Serve(ctx, r.handle)
}

func (r *Receiver) handle(ctx context.Context, in *wire.Incoming) {
	defer in.Close()
	log := r.Log.With("peer", in.Control.Remote())
	err := r.session(ctx, in, log)
	switch {
	case err == nil:
	case fault.Cancelled(err):
		log.Info("session ended", "reason", err)
	default:
		log.Warn("session failed", "error", err, "code", fault.CodeOf(err))
	}
}

// session serves one source.
func (r *Receiver) session(ctx context.Context, in *wire.Incoming, log *slog.Logger) error {
	var g Greeting
	if err := in.Greeting.Decode(&g); err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newReception(r, in, g, log, cancel)
	defer close(s.ended)
	if err := r.enter(ctx, s); err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	defer r.leave(s)
	if err := s.open(); err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	defer s.close()
	return s.serve(ctx)
}

// errReplaced ends a session whose source came back on a new connection.
var errReplaced = fault.Temporary(errors.New("the source opened a new session"))

// enter makes s the only session. One of the same source that is still there lost its connection: it is ended first.
func (r *Receiver) enter(ctx context.Context, s *reception) error {
	for {
		r.mu.Lock()
		old := r.active
		if old == nil {
			r.active = s
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
		if old.greeting.Source != s.greeting.Source || old.in.Control.Peer() != s.in.Control.Peer() {
			return fault.Operator("FERRY-TARGET-BUSY", "wait until the other migration ends, or use another target",
				fmt.Errorf("the target receives %s at the moment", old.greeting.Label))
		}
		old.cancel(errReplaced)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *Receiver) leave(s *reception) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active == s {
		r.active = nil
	}
}

// claim opens the target for a session. A missing image is none as long as nothing is to be written: disk is then nil.
func (s *reception) claim(write bool) (disk *device.Target, err error) {
	r, g := s.receiver, &s.greeting
	if r.disk != nil {
		return r.disk, nil
	}
	o := device.TargetOptions{Overwrite: g.Overwrite || r.Overwrite || g.ReadOnly || s.record.Source == g.Source, Sources: []device.Identity{g.Identity}}
	if !g.ReadOnly && write {
		o.Size, o.Create = g.Size, !r.Device
	}
	disk, err = device.OpenTarget(r.Path, o)
	if errors.Is(err, fs.ErrNotExist) && !write && !r.Device {
		return nil, s.record.renew()
	}
	if err != nil {
		return nil, err
	}
	if r.Device && !disk.IsDevice() {
		disk.Close()
		return nil, fault.Operator("FERRY-TARGET-KIND", "give image:PATH for an image file", fmt.Errorf("%s is not a device", r.Path))
	}
	// It is ours to replace only if it is what was received into, not what took its name since.
	if !g.Overwrite && !r.Overwrite && !g.ReadOnly && o.Overwrite && s.record.Identity != disk.Identity().Key {
		disk.Close()
		if err := s.record.renew(); err != nil {
			return nil, err
		}
		return s.claim(write)
	}
	if s.record.Identity != "" && s.record.Identity != disk.Identity().Key {
		if err := s.record.renew(); err != nil {
			disk.Close()
			return nil, err
		}
	}
	s.record.Identity = disk.Identity().Key
	return disk, nil
}

// realPath is what the target is remembered by.
func (r *Receiver) realPath() (string, error) {
	path, err := filepath.Abs(r.Path)
	if err != nil {
		return "", fmt.Errorf("target: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil || !os.IsNotExist(err) {
		return real, err
	}
	return path, nil
}

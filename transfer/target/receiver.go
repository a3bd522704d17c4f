package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// FeatureStart is what a session is called that ends the migration of a whole system: its hello asks to make the system start. A directory of files has
// nothing to do for that.
const FeatureStart = "configure"

// Receiver accepts sessions and applies what they bring to a directory, or, for a migration of several directories, to
// directories of one name below it. Each of these trees is written by one session at a time.
type Receiver struct {
	Root      string        // made if it is missing
	State     string        // directory
	Software  string        // for the source's log
	Overwrite bool          // data of others may be replaced
	Commit    time.Duration // rest between two commits of what was applied, longer where a commit is dear; 0: 2 s
	Log       *slog.Logger
	Done      func(source string) // told when a migration is complete; may be nil
	// Place returns the directory, which is there, of what comes from a path of the source; nil: all goes to Root.
	Place func(source string) (string, error)

	mu     sync.Mutex
	active map[string]*session
}

// Serve handles sessions until ctx is done or the listener fails. It returns once all sessions have ended.
func (r *Receiver) Serve(ctx context.Context, l *wire.Listener) error {
	return l.Serve(ctx, r.Handle)
}

// Handle serves one session to its end.
func (r *Receiver) Handle(ctx context.Context, in *wire.Incoming) {
	defer in.Close()
	log := r.Log.With("peer", in.Control.Remote())
	if !slices.Contains(in.Greeting.Features, "file") { // the source sees by the answer what this is
		ends := slices.Contains(in.Greeting.Features, FeatureStart) // Accept leaves what both sides have
		if err := in.Accept(wire.Hello{Features: []string{"file"}, Software: r.Software}); err == nil {
			_, _ = in.Control.ReadMessage() // it goes
			if ends && r.Done != nil {
				r.Done("/")
			}
		}
		return
	}
	var g file.Greeting
	err := in.Greeting.Decode(&g)
	if err == nil {
		err = r.session(ctx, in, g, log)
	}
	switch {
	case err == nil:
	case fault.Cancelled(err), errors.Is(err, errClosed):
		log.Info("session ended", "reason", err)
	default:
		log.Warn("session failed", "error", err, "code", fault.CodeOf(err))
	}
}

// session opens the tree that the greeting names and serves it.
func (r *Receiver) session(ctx context.Context, in *wire.Incoming, g file.Greeting, log *slog.Logger) error {
	path, err := r.treePath(g)
	if err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &session{in: in, receiver: r, log: log, greeting: g, cancel: cancel, ended: make(chan struct{}), applied: NewApplied()}
	defer close(s.ended)
	if err := r.enter(ctx, path, s); err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	defer r.leave(path, s)
	if err := s.open(path); err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	defer func() {
		if err := s.tree.Close(); err != nil {
			log.Warn("close target tree", "error", err)
		}
	}()
	return s.serve(ctx)
}

// treePath returns the directory that a session writes.
func (r *Receiver) treePath(g file.Greeting) (string, error) {
	if r.Place != nil {
		return r.Place(g.Label)
	}
	into := g.Into
	if into == "." || into == ".." || strings.ContainsAny(into, "/\x00") || len(into) > 255 {
		return "", protocolError("directory name %q", into)
	}
	root, err := filepath.Abs(r.Root)
	if err != nil {
		return "", fmt.Errorf("target directory: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fault.Operator(CodeRoot, "check the path of the target directory and its rights", fmt.Errorf("make target directory: %w", err))
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", fmt.Errorf("target directory: %w", err)
	}
	if into == "" {
		return root, nil
	}
	path := filepath.Join(root, into)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fault.Operator(CodeRoot, "check the target directory and its rights", fmt.Errorf("make target directory: %w", err))
	}
	if st, err := os.Lstat(path); err != nil || !st.IsDir() {
		return "", fault.Operator(CodeRoot, "remove what is there, or rename the source", fmt.Errorf("%s is not a directory", path))
	}
	return path, nil
}

// errReplaced ends a session whose source came back on a new connection.
var errReplaced = fault.Temporary(errors.New("the source opened a new session"))

// enter makes s the only session of the tree at path. A session of the same source that is still there lost its connection: it
// is ended first.
func (r *Receiver) enter(ctx context.Context, path string, s *session) error {
	for {
		r.mu.Lock()
		if r.active == nil {
			r.active = map[string]*session{}
		}
		old := r.active[path]
		if old == nil {
			r.active[path] = s
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
		if old.greeting.SourceTree != s.greeting.SourceTree || old.in.Control.Peer() != s.in.Control.Peer() {
			return fault.Operator(CodeBusy, "wait until the other migration ends, or use another target directory",
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

func (r *Receiver) leave(path string, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[path] == s {
		delete(r.active, path)
	}
}

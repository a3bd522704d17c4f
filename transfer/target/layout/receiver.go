package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/target/configure"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Feature is what a session is called that brings a plan. Its hello is the whole of it: the target answers once its disks are laid out.
const Feature = "layout"

// Codes of a target of disks.
const (
	CodeNone  = "FERRY-LAYOUT-NONE"  // its disks are not laid out
	CodePlace = "FERRY-LAYOUT-PLACE" // the plan has no filesystem for what comes
	CodeOther = "FERRY-LAYOUT-OTHER" // its disks are laid out by another plan
)

// greeting is the hello of such a session.
type greeting struct {
	Plan []byte `cbor:"plan"` // JSON; empty asks only whether the target is of disks
}

// Send has the target that dial reaches lay out its disks by a plan. One whose disks hold the plan has nothing to do. ok is false for a target that is
// not of disks: it takes what comes as it is. Errors: those of Fit and of Runner.Run, from the target.
func Send(ctx context.Context, dial wire.DialFunc, software string, p *Plan) (ok bool, err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("encode plan: %w", err)
	}
	return send(ctx, dial, software, text)
}

// OfDisks asks the target that dial reaches whether it is of disks, and so wants a plan.
func OfDisks(ctx context.Context, dial wire.DialFunc, software string) (bool, error) {
	return send(ctx, dial, software, nil)
}

func send(ctx context.Context, dial wire.DialFunc, software string, plan []byte) (ok bool, err error) {
	s, err := wire.Open(ctx, dial, wire.Hello{Features: []string{Feature}, Software: software, Body: greeting{plan}})
	if err != nil {
		return false, err
	}
	defer s.Close()
	return s.Greeting.Can(Feature), nil
}

// Receiver is a target of whole disks. It lays them out by a plan, one that is given or the first that a source sends, and lets another receiver take
// the files that come for each filesystem.
type Receiver struct {
	Disks     []Target
	Grow      bool
	Overwrite bool   // what the disks hold may be replaced
	State     string // directory
	Dir       string // where filesystems are mounted
	Software  string
	Files     *target.Receiver // its Root and Place are set
	Log       *slog.Logger
	Told      func(line string, done bool) // as in Runner
	Start     configure.Options            // how the system is made to start

	mu     sync.Mutex
	runner *Runner  // of the disks as they are laid out
	asIs   bool     // what configure changed was put back, or nothing was
	lock   *os.File // on Dir
}

// Lay lays the disks out and mounts what is on them, each filesystem by itself.
func (r *Receiver) Lay(ctx context.Context, p *Plan) error {
	fitted, err := Fit(p, r.Disks, r.Grow)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runner == nil {
		return r.lay(ctx, fitted)
	}
	if !r.runner.Plan.same(fitted) {
		return fault.Operator(CodeOther, "stop the target and start it again, with --overwrite to lose what it received", errors.New("the target's disks are laid out by another plan"))
	}
	return nil
}

func (r *Receiver) lay(ctx context.Context, fitted *Plan) (err error) {
	if r.lock == nil {
		if err := os.MkdirAll(r.Dir, 0o700); err != nil {
			return fmt.Errorf("layout: %w", err)
		}
		if r.lock, err = durable.Lock(filepath.Join(r.Dir, "lock")); err != nil {
			return err
		}
	}
	run := &Runner{Plan: fitted, State: r.State, Dir: r.Dir, Overwrite: r.Overwrite, Log: r.Log, Told: r.Told}
	if err = run.Run(ctx); err == nil {
		err = run.Mount(ctx, Volumes(fitted, r.volumes(), url.PathEscape))
	}
	if err != nil {
		return errors.Join(err, run.Release(context.WithoutCancel(ctx)))
	}
	r.runner = run
	return nil
}

// Resume goes on with what an earlier run laid out on these disks, if one did: a source that comes back does not send its plan again.
func (r *Receiver) Resume(ctx context.Context) error {
	p, err := Resumed(r.State)
	if err != nil || p == nil || !slices.EqualFunc(p.Disks, r.Disks[:min(len(p.Disks), len(r.Disks))], func(d Disk, t Target) bool { return d.Name == t.Path && d.Size == t.Size }) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lay(ctx, p)
}

func (r *Receiver) volumes() string { return filepath.Join(r.Dir, "volumes") }

// Serve handles sessions until ctx is done or the listener fails. It returns once all sessions have ended and the disks are let go of.
func (r *Receiver) Serve(ctx context.Context, l *wire.Listener) (err error) {
	r.Files.Root, r.Files.Place = r.volumes(), r.place
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.runner != nil {
			err = errors.Join(err, r.runner.Release(context.WithoutCancel(ctx)))
			r.runner = nil
		}
		if r.lock != nil {
			r.lock.Close()
		}
	}()
	return l.Serve(ctx, func(ctx context.Context, in *wire.Incoming) {
		switch {
		case slices.Contains(in.Greeting.Features, Feature):
			r.plan(ctx, in)
		case slices.Contains(in.Greeting.Features, target.FeatureStart):
			r.start(ctx, in)
		default:
			r.Files.Handle(ctx, in)
		}
	})
}

// plan handles a session that brings a plan.
func (r *Receiver) plan(ctx context.Context, in *wire.Incoming) {
	defer in.Close()
	var g greeting
	err := in.Greeting.Decode(&g)
	if err == nil && len(g.Plan) > 0 {
		var p *Plan
		if p, err = Parse(g.Plan); err == nil {
			err = r.Lay(ctx, p)
		}
	}
	if err != nil {
		r.Log.Warn("disks not laid out", "peer", in.Control.Remote(), "error", err, "code", fault.CodeOf(err))
		_ = in.Refuse(err) // the source may be gone
		return
	}
	if len(g.Plan) > 0 {
		r.Log.Info("disks are laid out", "peer", in.Control.Remote())
	}
	if err := in.Accept(wire.Hello{Features: []string{Feature}, Software: r.Software}); err != nil {
		r.Log.Warn("the source could not be told", "error", err)
		return
	}
	_, _ = in.Control.ReadMessage() // it ends when the source has read the answer and goes
}

// place returns where the files of a source's directory belong: to the filesystem that the plan mounts there.
func (r *Receiver) place(source string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runner == nil {
		return "", fault.Operator(CodeNone, "give ferry target the plan of the source (--plan), which ferry discover --layout prints there", errors.New("the target's disks are not laid out"))
	}
	var known []string
	for _, m := range Volumes(r.runner.Plan, "", func(at string) string { return at }) {
		if m.Dir == source {
			if err := r.asReceived(); err != nil {
				return "", err
			}
			return filepath.Join(r.volumes(), url.PathEscape(source)), nil
		}
		known = append(known, m.Dir)
	}
	return "", fault.Operator(CodePlace, "migrate mount points, one SOURCE for each", fmt.Errorf("no filesystem of the target belongs at %.200q; there are %s", source, strings.Join(known, ", ")))
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Pass is what one pass over all sources did.
type Pass struct {
	source.Result
	BytesSent int64         // on the wire, both directions, this pass
	Backlog   int64         // bytes that changed between the pass before and this one
	Churn     float64       // bytes per second that change on the source
	Forecast  time.Duration // how long the last pass would take if it began now
}

// Source is a directory or a disk, and how its copy is brought in step.
type Source interface {
	// Name is its path, for people.
	Name() string
	// Pass brings the copy in step once. It may be called again after any error.
	Pass(ctx context.Context) (*source.Result, error)
	// Progress returns the counters of the pass that runs, or of the last one, at any time.
	Progress() transfer.Progress
}

// Data is what the subtasks that move data work on.
type Data struct {
	Sources  []Source
	Blocks   bool // the sources are disks, copied block by block
	Counters *wire.Counters
	Interval time.Duration // between sync passes without backlog
	Cutover  <-chan struct{}
	// Quiet runs the last pass: between the hooks of the operator, or at one point in time; nil: as any other.
	Quiet func(ctx context.Context, pass func(context.Context) error) error
	// Twice does one more pass right before the last one, which then is short.
	Twice bool
	// Launch says that CONFIGURE_LINUX_FILE follows the last pass: the target stays for it.
	Launch bool
	// Strict makes a pass that verification found wanting an error: see Differences.
	Strict bool
	// Before is called before each pass, to settle what it leaves out; may be nil.
	Before func() error
	// Ended is told of each pass, last saying that no other follows.
	Ended func(p Pass, last bool)

	more atomic.Bool
}

// MoreToCome reports whether the target has to stay after the pass that runs: another will follow, or what makes the system start.
func (d *Data) MoreToCome() bool { return d.Launch || d.more.Load() }

// replicate is the first copy, or a sync of a single pass.
type replicate struct {
	name smsapi.SubtaskName
	data *Data
	last bool // nothing follows it

	mu    sync.Mutex
	now   Source
	done  transfer.Progress // of sources that are done in this pass
	start int64             // bytes on the wire before
}

// names are those of the subtasks that move data.
func (d *Data) names() names {
	if d.Blocks {
		return Route{Type: smsapi.MigrateBlock, OS: smsapi.Linux}.names()
	}
	return Route{Type: smsapi.MigrateFile, OS: smsapi.Linux}.names()
}

// NewReplicate returns MIGRATE_LINUX_FILE or MIGRATE_LINUX_BLOCK, or with again SYNC_LINUX_FILE or SYNC_LINUX_BLOCK: one pass over all
// sources. last says that it ends the migration.
func NewReplicate(d *Data, again, last bool) Subtask {
	name := d.names().migrate
	if again {
		name = d.names().sync
	}
	return &replicate{name: name, data: d, last: last}
}

// Name returns the name of the subtask.
func (r *replicate) Name() string { return string(r.name) }

// Run does one pass over all sources.
func (r *replicate) Run(ctx context.Context, _ *Task) error {
	if !r.last || r.data.Twice {
		p, err := r.pass(ctx, false)
		if err != nil {
			return err
		}
		r.data.Ended(p, false)
		if err := r.data.judge(p); err != nil || !r.last {
			return err
		}
	}
	var p Pass
	err := r.data.quietly(ctx, func(ctx context.Context) (err error) {
		p, err = r.pass(ctx, true)
		return err
	})
	if err == nil {
		r.data.Ended(p, true)
		err = r.data.judge(p)
	}
	return err
}

// judge returns an error for a pass that is not good enough.
func (d *Data) judge(p Pass) error {
	if d.Strict && p.Differences > 0 {
		return Differences(p.Differences, p.Differ)
	}
	return nil
}

// pass brings the target in step once.
func (r *replicate) pass(ctx context.Context, last bool) (Pass, error) {
	began := time.Now()
	if r.data.Before != nil {
		if err := r.data.Before(); err != nil {
			return Pass{}, err
		}
	}
	r.mu.Lock()
	r.done, r.start = transfer.Progress{}, r.data.Counters.Total()
	start := r.start
	r.mu.Unlock()
	var total Pass
	for i, src := range r.data.Sources {
		r.data.more.Store(!last || i < len(r.data.Sources)-1)
		r.mu.Lock()
		r.now = src
		r.mu.Unlock()
		result, err := src.Pass(ctx)
		if err != nil {
			if len(r.data.Sources) > 1 {
				err = fmt.Errorf("%s: %w", src.Name(), err)
			}
			return total, err
		}
		total.add(result)
		r.mu.Lock()
		r.done = sum(r.done, src.Progress())
		r.now = nil
		r.mu.Unlock()
	}
	total.Seconds = time.Since(began).Seconds()
	total.BytesSent = r.data.Counters.Total() - start
	total.Backlog = max(0, total.Bytes-total.BytesSaved)
	return total, nil
}

func (p *Pass) add(r *source.Result) {
	if p.Pass == "" || r.Pass == "resume" {
		p.Pass = r.Pass
	}
	p.Verified, p.TargetLabel = r.Verified, r.TargetLabel
	p.Files += r.Files
	p.Bytes += r.Bytes
	p.BytesRead += r.BytesRead
	p.BytesRaw += r.BytesRaw
	p.BytesSaved += r.BytesSaved
	p.Changed += r.Changed
	p.Deleted += r.Deleted
	p.Differences += r.Differences
	p.Differ = append(p.Differ, r.Differ...)
	p.Losses = source.MergeLosses(p.Losses, r.Losses)
	p.Notes = append(p.Notes, r.Notes...)
}

// Progress returns the counters of the pass.
func (r *replicate) Progress() transfer.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.done
	if r.now != nil {
		p = sum(p, r.now.Progress())
	}
	p.BytesSent = r.data.Counters.Total() - r.start
	return p
}

// sum adds the counters of b to a; the phase is that of b.
func sum(a, b transfer.Progress) transfer.Progress {
	return transfer.Progress{
		Phase: b.Phase, Files: a.Files + b.Files, FilesTotal: a.FilesTotal + b.FilesTotal,
		Bytes: a.Bytes + b.Bytes, BytesTotal: a.BytesTotal + b.BytesTotal, BytesRead: a.BytesRead + b.BytesRead,
		BytesRaw: a.BytesRaw + b.BytesRaw, BytesSaved: a.BytesSaved + b.BytesSaved,
	}
}

// follow is a sync until cutover: pass after pass, at once while there is backlog, else at the interval.
type follow struct {
	replicate
}

// NewFollow returns SYNC_LINUX_FILE or SYNC_LINUX_BLOCK that goes on until cutover, which does one more pass and ends it.
func NewFollow(d *Data) Subtask {
	return &follow{replicate{name: d.names().sync, data: d, last: true}}
}

// Run does pass after pass until cutover.
func (s *follow) Run(ctx context.Context, _ *Task) error {
	var before time.Time
	for {
		select {
		case <-s.data.Cutover:
			return s.replicate.Run(ctx, nil)
		default:
		}
		began := time.Now()
		p, err := s.pass(ctx, false)
		if err != nil {
			return err
		}
		if !before.IsZero() {
			p.Churn = float64(p.Backlog) / max(began.Sub(before).Seconds(), 0.001)
		}
		p.Forecast = forecast(p)
		before = began
		s.data.Ended(p, false)
		if p.Backlog > 0 && p.Seconds > s.data.Interval.Seconds() {
			continue
		}
		select {
		case <-s.data.Cutover:
		case <-time.After(s.data.Interval):
		case <-ctx.Done():
			return cancelled(ctx)
		}
	}
}

// forecast is how long a pass over what changes during this one would take: the scan as now, and the content at the rate of now.
func forecast(p Pass) time.Duration {
	took := time.Duration(p.Seconds * float64(time.Second))
	if p.Backlog == 0 || p.Churn == 0 {
		return took
	}
	rate := float64(p.Backlog) / p.Seconds
	return time.Duration(float64(took) * min(1, p.Churn/rate))
}

func (d *Data) quietly(ctx context.Context, pass func(context.Context) error) error {
	if d.Quiet == nil {
		return pass(ctx)
	}
	return d.Quiet(ctx, pass)
}

// ErrDifferent is in the chain of an error that says that verification found differences.
var ErrDifferent = errors.New("the target differs from the source")

// Differences returns the error for a pass whose verification found n differences; words are the first of them.
func Differences(n int64, words []string) error {
	text := ""
	for i, w := range words {
		if i == 3 {
			text += "; …"
			break
		}
		text += "; " + w
	}
	return fault.Operator("FERRY-VERIFY-DIFFERENT", "run again: what differs is sent anew; if it stays, check the target's disk and memory",
		fmt.Errorf("%w in %d places%s", ErrDifferent, n, text))
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/source"
)

// pointPlan returns how the last pass is read: at one point in time if --snapshot says so, between the hooks. The second hook runs whatever
// became of the first and of the pass, also after a cancel: it undoes what the first did.
func (m *migration) pointPlan() *snapshot.Plan {
	f := m.flags
	p := &snapshot.Plan{
		Mode: m.snapshot, Dir: filepath.Join(m.state, "snapshots"), Bound: f.freezeBound, Log: m.log,
		Writes: []string{m.state, "/proc/self/fd/1", "/proc/self/fd/2"},
		Before: m.hook("before-freeze", f.beforeFreeze), After: m.hook("after-thaw", f.afterThaw),
	}
	for _, s := range m.sources {
		p.Roots = append(p.Roots, s.Root)
	}
	if m.to.dir != "" {
		p.Writes = append(p.Writes, m.to.dir)
	}
	return p
}

// quiet returns what runs the last pass as p says.
func (m *migration) quiet(p *snapshot.Plan) func(context.Context, func(context.Context) error) error {
	return func(ctx context.Context, pass func(context.Context) error) error {
		r, err := p.Run(ctx, func(ctx context.Context, dirs []string, taken time.Time) error {
			for i, dir := range dirs {
				m.sources[i].View = &source.View{Dir: dir, Taken: taken}
				defer func() { m.sources[i].View = nil }()
			}
			return pass(ctx)
		})
		m.point = r
		return err
	}
}

// hook returns what runs the command line of a hook, nil without one.
func (m *migration) hook(name, line string) func(context.Context) error {
	if line == "" {
		return nil
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, m.flags.hookTimeout)
		defer cancel()
		if _, err := command.Run(ctx, m.log, shell(line)...); err != nil {
			return fault.Operator("FERRY-HOOK", "run the command by hand to see why, or give it more time with --hook-timeout", fmt.Errorf("--%s: %w", name, err))
		}
		return nil
	}
}

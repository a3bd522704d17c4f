package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// verifyOnly compares the sources with their copies and shows the result.
func (m *migration) verifyOnly(ctx context.Context) error {
	began := time.Now()
	m.prepare()
	err := m.compare(ctx)
	if err == nil && m.total.Differences > 0 {
		err = withExit(exitDifferent, agent.Differences(m.total.Differences, m.differ))
	}
	err = interrupted(err)
	m.conclude(err, began)
	return err
}

func (m *migration) compare(ctx context.Context) (err error) {
	if _, err := os.Stat(m.to.dir); m.to.dir != "" && errors.Is(err, fs.ErrNotExist) {
		return fault.Operator(target.CodeRoot, "check the path", fmt.Errorf("there is no copy at %s", m.to.dir))
	}
	dial, stop, err := m.connectTo(ctx, wire.Options{Limiter: m.bucket, Counters: m.counters})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	m.total.Verified, m.total.CompressRate = "full", 100
	m.reach(dial, func() bool { return true })
	for _, cfg := range m.sources {
		count := &source.Counters{}
		err := m.compareOne(count.Progress, func() (*source.Result, error) { return source.Compare(ctx, cfg, count) })
		if err != nil {
			return err
		}
	}
	if m.disk != nil {
		count := &block.Counters{}
		err = m.compareOne(count.Progress, func() (*source.Result, error) { return block.Compare(ctx, m.disk, count) })
	}
	m.total.BytesSent = m.counters.Total()
	return err
}

// compareOne compares one source with its copy while it shows the progress.
func (m *migration) compareOne(progress func(int64) transfer.Progress, compare func() (*source.Result, error)) error {
	stopShowing := m.show(func() progressEvent {
		p := progress(m.counters.Total())
		return progressEvent{Subtask: "VERIFY", Phase: p.Phase, Percent: p.Percent(), Bytes: p.Bytes, Total: p.BytesTotal, Files: p.Files, CompressRate: 100}
	})
	r, err := compare()
	stopShowing()
	if err != nil {
		return err
	}
	m.total.Files += r.Files
	m.total.Bytes += r.Bytes
	m.total.BytesRead += r.BytesRead
	m.total.Differences += r.Differences
	m.differ = append(m.differ, r.Differ...)
	m.total.Losses = append(m.total.Losses, lossEvents(r.Losses)...)
	m.total.Notes = append(m.total.Notes, r.Notes...)
	return nil
}

// conclude shows the result of a run that ended with err.
func (m *migration) conclude(err error, began time.Time) {
	e := m.total
	e.OK = err == nil
	e.Seconds = time.Since(began).Seconds()
	e.Mbps = mbps(e.Bytes-e.BytesSaved, e.Seconds)
	if err != nil {
		text, code := err.Error(), fault.CodeOf(err)
		e.Error = &text
		if code != "" {
			e.Code = &code
		}
	}
	m.screen.result(e)
}

// dryRun shows what a run would do.
func (m *migration) dryRun(ctx context.Context) error {
	began := time.Now()
	m.prepare()
	err := interrupted(m.survey(ctx))
	m.conclude(err, began)
	return err
}

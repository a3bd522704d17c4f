package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// migration is one run of ferry migrate.
type migration struct {
	flags   *migrateFlags
	state   string
	to      endpoint
	pair    string
	limit   ratelimit.Schedule
	memory  int64            // bytes, 0 for no bound
	sources []*source.Config // directories, or
	disk    *block.Config
	watch   block.Watch // of disk

	snapshot snapshot.Mode
	point    snapshot.Report // of the last pass

	screen   *screen
	log      *slog.Logger
	bucket   *ratelimit.Bucket
	counters *wire.Counters
	data     *agent.Data
	runner   *agent.Runner
	stop     context.CancelCauseFunc
	cutover  chan struct{}
	cutOnce  sync.Once

	total  resultEvent
	differ []string
}

// run migrates and shows the result.
func (m *migration) run(ctx context.Context) error {
	began := time.Now()
	m.prepare()
	ctx, m.stop = context.WithCancelCause(ctx)
	defer m.stop(nil)
	err := m.migrate(ctx)
	if err == nil && m.total.Differences > 0 {
		err = withExit(exitDifferent, agent.Differences(m.total.Differences, m.differ))
	}
	if err == nil && m.flags.strict && len(m.total.Losses) > 0 {
		err = withExit(exitLosses, fault.Operator("FERRY-LOSSES", "see the losses above for what to do about each, or run without --strict",
			errors.New("some details could not be kept")))
	}
	err = interrupted(err)
	m.conclude(err, began)
	return err
}

// prepare sets up what the whole process shares.
func (m *migration) prepare() {
	m.log = slog.New(slog.NewTextHandler(noteWriter{m.screen}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	m.bucket = ratelimit.NewBucket(m.limit)
	m.counters = &wire.Counters{}
	m.cutover = make(chan struct{})
	if m.memory > 0 {
		debug.SetMemoryLimit(max(m.memory-24<<20, 16<<20)) // the rest is code, stacks and SQLite's pages
	}
}

// migrate runs the task on the embedded control plane, or on the one that was named.
func (m *migration) migrate(ctx context.Context) (err error) {
	lock, err := durable.Lock(filepath.Join(m.state, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	client, closeClient, err := m.control(ctx)
	if err != nil {
		return err
	}
	defer closeClient()
	dial, stopTarget, err := m.connectTo(ctx, wire.Options{Limiter: m.bucket, Counters: m.counters})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTarget(), m.watch.Close()) }()
	m.data = &agent.Data{Counters: m.counters, Interval: m.flags.interval, Cutover: m.cutover, Ended: m.ended}
	m.reach(dial, m.data.MoreToCome)
	if err := m.addData(ctx); err != nil {
		return err
	}
	reports, err := reporter.New(client, filepath.Join(m.state, "outbox"), m.log)
	if err != nil {
		return err
	}
	defer reports.Close()
	m.runner = agent.New(agent.Config{
		Dir: m.state, Controller: client, Reporter: reports, Log: m.log, FlushWithin: time.Second,
		Plan: func(*agent.Task) ([]agent.Subtask, error) { return m.plan(dial), nil },
	})
	control, err := agent.ServeControl(m.state, m, m.log)
	if err != nil {
		return err
	}
	defer control.Close()
	id, err := agent.EnsureTask(ctx, client, m.state, m.taskRequest())
	if err != nil {
		return err
	}
	defer m.show(func() progressEvent { return progressOf(m.runner.Status()) })()
	return m.runner.Run(ctx, id)
}

// addData tells the subtasks what to move, and how the last pass is read: a disk sees to that itself.
func (m *migration) addData(ctx context.Context) error {
	if m.disk != nil {
		m.data.Sources, m.data.Blocks = []agent.Source{agent.Disk(m.disk)}, true
		return nil
	}
	point := m.pointPlan()
	if err := point.Try(ctx); err != nil {
		return err
	}
	m.data.Quiet, m.data.Twice = m.quiet(point), point.Mode == snapshot.ModeFreeze
	for _, cfg := range m.sources {
		m.data.Sources = append(m.data.Sources, agent.Tree(cfg))
	}
	return nil
}

// reach tells the sources how to reach the target, and whether more passes will follow the one that runs.
func (m *migration) reach(dial wire.DialFunc, more func() bool) {
	for _, cfg := range m.sources {
		cfg.Dial, cfg.Counters, cfg.Log, cfg.MoreToCome = dial, m.counters, m.log, more
	}
	if cfg := m.disk; cfg != nil {
		cfg.Dial, cfg.Counters, cfg.Log, cfg.MoreToCome = dial, m.counters, m.log, more
	}
}

// control returns a client of the control plane to report to.
func (m *migration) control(ctx context.Context) (*reporter.Client, func(), error) {
	if url := m.flags.controller; url != "" {
		client, closeClient, err := connect(ctx, url, m.state)
		if err == nil {
			err = controllerRecord{URL: url}.write(m.state)
		}
		return client, closeClient, err
	}
	server, err := startController(ctx, controller.Config{Store: "sqlite:" + filepath.Join(m.state, databaseFile), Log: m.log})
	if err != nil {
		return nil, nil, err
	}
	client, err := reporter.NewClient(server.URL(), server.Key())
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return client, func() {
		client.Close()
		if err := server.Close(); err != nil {
			m.log.Warn("close the control plane", "error", err)
		}
	}, nil
}

// known reports whether the sources were migrated before.
func (m *migration) known() bool {
	if m.disk != nil {
		return block.Known(m.state, m.disk.Path)
	}
	return source.Known(m.sources)
}

// plan is the order of the subtasks of a Linux task against a target that exists.
func (m *migration) plan(dial wire.DialFunc) []agent.Subtask {
	again := m.known()
	subtasks := []agent.Subtask{agent.NewConnect(dial)}
	whole := !m.to.here() && slices.ContainsFunc(m.sources, func(c *source.Config) bool { return c.Root == "/" }) // the target may be one of disks
	m.data.Launch = whole
	if whole && !again {
		subtasks = append(subtasks, agent.NewFormat(dial, software(), agent.PlanHere))
	}
	if m.flags.sync && !again {
		subtasks = append(subtasks, agent.NewReplicate(m.data, false, false))
	}
	if m.flags.sync {
		subtasks = append(subtasks, agent.NewFollow(m.data))
	} else {
		subtasks = append(subtasks, agent.NewReplicate(m.data, again, true))
	}
	if whole {
		subtasks = append(subtasks, agent.NewConfigure(dial, software(), m.log))
	}
	return subtasks
}

// sourceID is the id of this machine at the embedded control plane, which knows no registered sources.
func (m *migration) sourceID() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// taskRequest describes the migration to the control plane. The same sources and target are the same task.
func (m *migration) taskRequest() smsapi.CreateTaskRequest {
	var names []string
	for _, s := range m.sources {
		names = append(names, s.Root)
	}
	level := smsapi.MigrateFile
	if m.disk != nil {
		names, level = []string{m.disk.Path}, smsapi.MigrateBlock
	}
	to := m.to.String()
	_, rate := m.bucket.Limit()
	return smsapi.CreateTaskRequest{
		Name: taskName(names, to), Type: level, OSType: smsapi.Linux,
		SourceServer: smsapi.SourceServerID{ID: m.sourceID()},
		TargetServer: smsapi.NewTargetServer{Name: to, Disks: []smsapi.NewTargetDisk{}, VolumeGroups: []smsapi.VolumeGroup{}},
		RegionName:   "embedded", RegionID: "embedded", ProjectName: "embedded", ProjectID: "embedded",
		Priority: 1, Syncing: m.flags.sync, ExistServer: true, StartTargetServer: false, SpeedLimit: int(min(smsapi.Mbps(rate), 65535)),
	}
}

// taskName names the task of these sources and this target: readable, and told apart by a hash where readable names are the same.
func taskName(sources []string, to string) string {
	all := strings.Join(sources, "_") + "-to-" + to
	sum := sha256.Sum256([]byte(strings.Join(append(sources, to), "\x00")))
	if len(all) > 120 {
		all = all[:120]
	}
	return smsapi.TaskName(fmt.Sprintf("%s-%x", all, sum[:4]))
}

// ended takes the result of a pass over.
func (m *migration) ended(p agent.Pass, last bool) {
	e := resultEvent{
		OK: true, Pass: p.Pass, Files: p.Files, Bytes: p.Bytes, BytesRead: p.BytesRead, BytesSent: p.BytesSent, BytesSaved: p.BytesSaved,
		Seconds: p.Seconds, Mbps: mbps(p.Bytes-p.BytesSaved, p.Seconds), CompressRate: rate(p.BytesSent, p.BytesRaw), Verified: p.Verified,
		Differences: p.Differences, Losses: lossEvents(p.Losses),
	}
	m.screen.mu.Lock()
	first := m.total.Pass == ""
	read, sent := m.total.BytesRead+e.BytesRead, m.total.BytesSent+e.BytesSent
	pass := m.total.Pass
	m.total = e
	m.total.BytesRead, m.total.BytesSent = read, sent
	if !first {
		m.total.Pass = pass
	}
	m.total.Notes = m.notes(&p)
	if last {
		m.total.Consistent, m.total.FrozenSeconds = string(m.point.Kind), m.point.Longest().Seconds()
	}
	m.differ = p.Differ
	m.screen.mu.Unlock()
	if m.flags.sync {
		m.screen.pass(passEvent{resultEvent: e, Backlog: p.Backlog, ChurnMbps: mbps(int64(p.Churn), 1), ForecastSeconds: p.Forecast.Seconds()})
	}
}

// pointNotes say which point in time the target holds.
var pointNotes = map[snapshot.Point]string{
	"":                        inUse,
	snapshot.PointNone:        inUse,
	snapshot.PointCrash:       "The copy is one instant, as after a power cut: what programs had not synced by then may be missing (crash consistent).",
	snapshot.PointFilesystem:  "The copy is one instant: everything written to the source up to then (filesystem consistent).",
	snapshot.PointApplication: "The copy is one instant, after the hook had programs write out what they held (application consistent).",
}

const inUse = "The source was read while it was in use: the copy is not one instant, unless nothing wrote to it during the last pass."

// notes are the limits of what a pass can promise.
func (m *migration) notes(p *agent.Pass) []string {
	notes := append([]string{pointNotes[m.point.Kind]}, p.Notes...)
	if d := m.point.Longest(); d > 0 {
		notes[0] += fmt.Sprintf(" The source was frozen for %v.", d.Round(time.Millisecond))
	}
	if l := m.point.Loose; len(l) > 0 {
		notes = append(notes, fmt.Sprintf("No part of that instant, for its filesystem cannot be frozen: %s.", strings.Join(l, ", ")))
	}
	if p.Changed > 0 {
		notes = append(notes, "Some entries changed each time they were read; the next run reads them again.")
	}
	return notes
}

func lossEvents(losses []source.Loss) []lossEvent {
	out := []lossEvent{}
	for _, l := range losses {
		out = append(out, lossEvent{Kind: l.Kind, Count: l.Count, Sample: l.Sample, Remedy: l.Remedy})
	}
	return out
}

func mbps(bytes int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(bytes) * 8 / 1e6 / seconds
}

// rate is the percentage of raw that went over the wire, at most 100.
func rate(sent, raw int64) float64 {
	if raw <= 0 || sent >= raw {
		return 100
	}
	return float64(sent) / float64(raw) * 100
}

// showEvery is how often the progress is looked at.
const showEvery = 500 * time.Millisecond

// show shows the progress, and minds the cutover signal, until the function it returns is called.
func (m *migration) show(now func() progressEvent) (stop func()) {
	done := make(chan struct{})
	var g sync.WaitGroup
	g.Add(1)
	go func() {
		defer g.Done()
		tick := time.NewTicker(showEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.screen.progress(now())
			case <-cutoverSignal():
				if err := m.Cutover(); err != nil {
					m.log.Warn("cutover", "error", err)
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		g.Wait()
	}
}

func progressOf(r report.Report) progressEvent {
	p := progressEvent{
		Subtask: r.Subtask, Phase: r.Phase, Percent: r.Percent, Bytes: r.Bytes, Total: r.BytesTotal, Files: r.Files,
		Mbps: smsapi.Mbps(r.Rate), CompressRate: r.CompressRate,
	}
	if s := int64(r.Remaining.Seconds()); r.Remaining > 0 {
		p.RemainSeconds = &s
	}
	return p
}

// Status, SetLimit, Cutover and Stop are what the control socket offers.

// Status returns what the migration is doing.
func (m *migration) Status() report.Report { return m.runner.Status() }

// SetLimit changes the rate limit of the running migration.
func (m *migration) SetLimit(limit string) error {
	s, err := ratelimit.ParseLimit(limit)
	if err == nil {
		m.bucket.SetLimit(s)
	}
	return err
}

// Cutover makes the next pass the last one.
func (m *migration) Cutover() error {
	if !m.flags.sync {
		return fault.Operator("FERRY-NOT-SYNCING", "it ends by itself after this pass", errors.New("this migration runs without --sync"))
	}
	m.cutOnce.Do(func() { close(m.cutover) })
	return nil
}

// Stop ends the migration so that it can be resumed.
func (m *migration) Stop() error {
	m.stop(agent.ErrStopped)
	return nil
}

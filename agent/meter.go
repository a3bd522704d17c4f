package agent

import (
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/report"
)

// A meter turns the counters of a running subtask into reports. It is for concurrent use.
type meter struct {
	task    string
	subtask Subtask

	mu       sync.Mutex
	attempt  int
	err      error // of the last attempt, while the next one is awaited
	estimate reporter.Estimate
	sent     reporter.Estimate // of bytes on the wire
}

func newMeter(task string, s Subtask) *meter { return &meter{task: task, subtask: s, attempt: 1} }

// begin notes that an attempt begins.
func (m *meter) begin(attempt int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attempt, m.err = attempt, nil
}

// failed notes why an attempt ended.
func (m *meter) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// reached returns how far the subtask got, in no unit.
func (m *meter) reached() int64 {
	p := m.subtask.Progress()
	return p.Bytes + p.Files
}

// sample feeds the rate. What a resume or a sync found on the target counts as done but not for the rate.
func (m *meter) sample(now time.Time) {
	p := m.subtask.Progress()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.estimate.Observe(now, p.Bytes-p.BytesSaved)
	m.sent.Observe(now, p.BytesSent)
}

// report returns the subtask's status as of now.
func (m *meter) report(state report.State) report.Report {
	p := m.subtask.Progress()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := report.Report{
		Task: m.task, Subtask: m.subtask.Name(), State: state, Attempt: m.attempt,
		Phase: p.Phase, Percent: p.Percent(), Bytes: p.Bytes, BytesTotal: p.BytesTotal, Files: p.Files, FilesTotal: p.FilesTotal,
		CompressRate: p.CompressRate(),
	}
	if p.BytesSent == 0 {
		r.SentRate = -1
	}
	if state != report.Running {
		return r
	}
	r.Rate = m.estimate.Rate()
	if p.BytesSent > 0 {
		r.SentRate = m.sent.Rate()
	}
	r.Remaining = m.estimate.Remaining(p.BytesTotal - p.BytesSaved)
	if m.err != nil {
		r.Error, r.Code, r.Remedy = m.err.Error(), fault.CodeOf(m.err), fault.RemedyOf(m.err)
	}
	return r
}

// Package reporter tells the controller how a task is getting on. It decides nothing.
//
// A [Reporter] turns each report into a PUT of the SMS API. Reports that change a state (a subtask starts, ends, fails, is
// stopped), the states of the source itself and the answers to commands go through an [Outbox]: they are on disk before Report returns, survive a restart, and arrive in order, at least
// once. Interim reports are kept in memory, the latest only, and may never arrive.
//
// Nothing here waits for the network except Flush, so a controller that is slow or gone never holds up the data.
package reporter

import (
	"context"
	"log/slog"

	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Reporter sends reports to one controller. It is for concurrent use.
type Reporter struct {
	outbox *Outbox
}

// New returns a Reporter that sends to a service and keeps what is not delivered yet in the file at path. What an earlier run
// left there is sent first. Close it.
func New(to Service, path string, log *slog.Logger) (*Reporter, error) {
	outbox, err := OpenOutbox(path, to, log)
	if err != nil {
		return nil, err
	}
	return &Reporter{outbox: outbox}, nil
}

// Report takes a report. An error means that a state could not be written to disk; it is still sent while the process lives.
func (r *Reporter) Report(rep report.Report) error {
	progress := wire(rep)
	m := Message{Task: rep.Task, Progress: &progress}
	if rep.State.Durable() {
		return r.outbox.Put(m)
	}
	r.outbox.Offer(m)
	return nil
}

// SourceState tells the state of the source, in order with the reports of its tasks. An error is that of Report.
func (r *Reporter) SourceState(source string, state smsapi.CopyState) error {
	return r.outbox.Put(Message{Source: source, State: &state})
}

// Answer tells how a command went, in order with what was reported before. An error is that of Report.
func (r *Reporter) Answer(source string, result smsapi.CommandResult) error {
	return r.outbox.Put(Message{Source: source, Result: &result})
}

// Flush waits until everything is delivered or refused, or ctx is done. What is left then is sent by the next run.
func (r *Reporter) Flush(ctx context.Context) error { return r.outbox.Flush(ctx) }

// Close stops sending. States that were not delivered stay on disk.
func (r *Reporter) Close() { r.outbox.Close() }

// wire converts a report to the body of the progress operation. Only the end of a subtask is 100 percent there. The rate is the one
// on the wire, as the vendor's console shows that of the network card: it is what limits are compared with.
func wire(rep report.Report) smsapi.Progress {
	rate := rep.SentRate
	if rate < 0 {
		rate = rep.Rate
	}
	p := smsapi.Progress{
		Subtask:        smsapi.SubtaskName(rep.Subtask),
		Percent:        min(max(rep.Percent, 0), 99),
		ReplicatedSize: max(rep.Bytes, 0),
		TotalSize:      max(rep.BytesTotal, 0),
		MigrateSpeed:   smsapi.Mbps(rate),
		CompressRate:   max(rep.CompressRate, 0),
	}
	if rep.Remaining > 0 {
		seconds := smsapi.Seconds(rep.Remaining)
		p.RemainTime = &seconds
	}
	trace := smsapi.Trace{
		Phase: rep.Phase, Files: rep.Files, FilesTotal: rep.FilesTotal,
		Error: rep.Error, Code: rep.Code, Remedy: rep.Remedy,
	}
	if rep.Attempt > 1 {
		trace.Attempt = rep.Attempt
	}
	switch rep.State {
	case report.Ended:
		p.Percent = 100
		if rep.Last {
			trace.Outcome = smsapi.OutcomeDone
		}
	case report.Failed:
		trace.Outcome = smsapi.OutcomeFailed
	case report.Stopped:
		trace.Outcome = smsapi.OutcomeStopped
	}
	p.ProcessTrace = trace.String()
	return p
}

package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// outboxVersion is the version of the outbox file. Version 1 held progress reports only, in the same form.
const outboxVersion = 2

// Message is one thing to tell the service: the progress of a task, the state of a source, or how a command went.
type Message struct {
	Task     string                `json:"task,omitempty"`
	Progress *smsapi.Progress      `json:"progress,omitempty"` // of Task
	Source   string                `json:"source,omitempty"`
	State    *smsapi.CopyState     `json:"state,omitempty"`  // of Source
	Result   *smsapi.CommandResult `json:"result,omitempty"` // of a command that Source was given
}

// LogValue says what a message is about.
func (m Message) LogValue() slog.Value {
	switch {
	case m.Progress != nil:
		return slog.StringValue(fmt.Sprintf("%s of task %s", m.Progress.Subtask, m.Task))
	case m.State != nil:
		return slog.StringValue(m.State.Cycle + "/" + m.State.State)
	case m.Result != nil:
		return slog.StringValue(fmt.Sprintf("%s of command %s", m.Result.Result, m.Result.Name))
	}
	return slog.StringValue("nothing")
}

// Service takes messages. *Client is one. The class of an error decides: permanent means that a message will never be taken.
type Service interface {
	Deliver(ctx context.Context, m Message) error
}

// Outbox delivers messages in the background, one at a time. It is for concurrent use.
//
// States are written to its file before Put returns and leave it once they were taken, or refused for good: a report sent just
// before a crash is sent again. Of interim reports only the latest waits, in memory, and never before a state. After a failed
// delivery it waits, longer each time, without end.
type Outbox struct {
	path string
	to   Service
	log  *slog.Logger
	wait *backoff.ExponentialBackOff

	mu     sync.Mutex
	states []Message
	latest *Message        // interim report, sent when no state waits
	empty  []chan struct{} // closed when nothing waits

	wake  chan struct{} // something was added
	hurry chan struct{} // somebody waits for delivery: try again now
	stop  context.CancelFunc
	done  chan struct{}
}

// outboxFile is the content of the file.
type outboxFile struct {
	Version int       `json:"version"`
	States  []Message `json:"states"`
}

// OpenOutbox starts delivering what the file at path holds and whatever is added. A damaged file is set aside as path.damaged.
func OpenOutbox(path string, to Service, log *slog.Logger) (*Outbox, error) {
	return openOutbox(path, to, log, backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(500*time.Millisecond),
		backoff.WithMaxInterval(30*time.Second),
		backoff.WithRandomizationFactor(0.5),
		backoff.WithMaxElapsedTime(0),
	))
}

func openOutbox(path string, to Service, log *slog.Logger, wait *backoff.ExponentialBackOff) (*Outbox, error) {
	states, err := loadOutbox(path, log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &Outbox{
		path: path, to: to, log: log, wait: wait, states: states,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	go o.run(ctx)
	return o, nil
}

func loadOutbox(path string, log *slog.Logger) ([]Message, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	var file outboxFile
	if err := json.Unmarshal(data, &file); err == nil && (file.Version == outboxVersion || file.Version == 1) {
		return file.States, nil
	}
	if file.Version > outboxVersion {
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it, or another --state directory",
			fmt.Errorf("outbox %s has version %d, this ferry knows %d", path, file.Version, outboxVersion))
	}
	log.Warn("the outbox is damaged; reports in it are lost", "file", path, "aside", path+".damaged")
	if err := durable.Rename(path, path+".damaged"); err != nil {
		return nil, fmt.Errorf("set damaged outbox aside: %w", err)
	}
	return nil, nil
}

// Put queues a message that must arrive. It returns once that is on disk; on an error it is queued in memory only.
func (o *Outbox) Put(m Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states = append(o.states, m)
	o.latest = nil // older than the state
	signal(o.wake)
	return o.save()
}

// Offer queues a message that may be replaced by the next one. It does not wait for anything.
func (o *Outbox) Offer(m Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latest = &m
	signal(o.wake)
}

// Flush tries to deliver everything at once and waits until nothing is left or ctx is done.
func (o *Outbox) Flush(ctx context.Context) error {
	o.mu.Lock()
	if len(o.states) == 0 && o.latest == nil {
		o.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	o.empty = append(o.empty, empty)
	o.mu.Unlock()
	signal(o.hurry)
	select {
	case <-empty:
		return nil
	case <-o.done:
		return errors.New("reports: the outbox is closed")
	case <-ctx.Done():
		o.mu.Lock()
		defer o.mu.Unlock()
		return fmt.Errorf("%d state reports wait for the controller: %w", len(o.states), ctx.Err())
	}
}

// Close stops delivery, also one under way. Undelivered states stay in the file.
func (o *Outbox) Close() {
	o.stop()
	<-o.done
}

// run delivers until ctx is done.
func (o *Outbox) run(ctx context.Context) {
	defer close(o.done)
	for {
		next, interim := o.next()
		if next == nil {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := o.to.Deliver(ctx, *next)
		crashpoint.Hit("reporter.sent")
		if ctx.Err() != nil {
			return
		}
		if pause := o.settle(next, interim, err); pause > 0 && !o.pause(ctx, pause) {
			return
		}
	}
}

// next returns the oldest state, else the latest interim report, else nil after telling those who wait for that.
func (o *Outbox) next() (m *Message, interim bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.states) > 0 {
		head := o.states[0]
		return &head, false
	}
	if o.latest == nil {
		for _, empty := range o.empty {
			close(empty)
		}
		o.empty = nil
	}
	return o.latest, true
}

// settle removes a report that was taken or refused for good. Otherwise it returns how long to wait before the next attempt.
func (o *Outbox) settle(sent *Message, interim bool, err error) time.Duration {
	keep := err != nil && fault.ClassOf(err) != fault.ClassPermanent
	if keep {
		pause := max(o.wait.NextBackOff(), RetryAfter(err))
		o.log.Warn("report not delivered", "report", *sent, "code", SMSCode(err), "error", err, "again_in", pause)
		return pause
	}
	if err != nil {
		o.log.Error("report refused", "report", *sent, "error", err)
	}
	o.wait.Reset()
	o.mu.Lock()
	defer o.mu.Unlock()
	if interim {
		if o.latest == sent {
			o.latest = nil
		}
		return 0
	}
	o.states = o.states[1:]
	if err := o.save(); err != nil {
		o.log.Warn("a delivered report may be sent again after a restart", "error", err)
	}
	return 0
}

// pause waits, until somebody is in a hurry. It returns false when ctx is done.
func (o *Outbox) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.hurry:
		return true
	case <-ctx.Done():
		return false
	}
}

// save writes the states to the file. The caller holds mu.
func (o *Outbox) save() error {
	data, err := json.Marshal(outboxFile{Version: outboxVersion, States: o.states})
	if err != nil {
		return fmt.Errorf("encode outbox: %w", err)
	}
	if err := durable.WriteFile(o.path, data, 0o600); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	crashpoint.Hit("reporter.outbox")
	return nil
}

// signal leaves a note in a channel of one place.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

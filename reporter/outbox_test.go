package reporter

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// A fakeController remembers what it took, and answers with the errors it is told.
type fakeController struct {
	mu     sync.Mutex
	took   []int // percent of each report
	at     []time.Time
	answer func(attempt int) error
	calls  int
}

// Deliver implements Service.
func (f *fakeController) Deliver(_ context.Context, m Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.at = append(f.at, time.Now())
	if f.answer != nil {
		if err := f.answer(f.calls); err != nil {
			return err
		}
	}
	if m.Progress != nil {
		f.took = append(f.took, m.Progress.Percent)
	}
	return nil
}

func (f *fakeController) seen() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.took...)
}

// serviceFunc is a Service of one function.
type serviceFunc func(ctx context.Context, m Message) error

// Deliver implements Service.
func (f serviceFunc) Deliver(ctx context.Context, m Message) error { return f(ctx, m) }

func percent(task string, n int) Message {
	return Message{Task: task, Progress: &smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: n}}
}

func TestOutboxDeliversStatesInOrderThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeController{answer: func(attempt int) error {
			switch {
			case attempt <= 20:
				return fault.Temporary(errors.New("connection refused"))
			case attempt == 21:
				return fault.Temporary(&APIError{Status: 503})
			case attempt == 22:
				return fault.Operator("FERRY-CONTROLLER-KEY", "", errors.New("401"))
			default:
				return nil
			}
		}}
		o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), f, quiet)
		require.NoError(t, err)
		for n := range 5 {
			require.NoError(t, o.Put(percent("task", n)))
			for range 100 {
				o.Offer(percent("task", 50+n))
			}
		}
		time.Sleep(time.Hour) // of the bubble's clock
		require.Equal(t, []int{0, 1, 2, 3, 4, 54}, f.seen(), "states in order, then only the latest progress")
		require.Less(t, f.at[1].Sub(f.at[0]), 2*time.Second, "soon at first")
		require.Greater(t, f.at[20].Sub(f.at[19]), 10*time.Second, "rarely after a while")
		require.LessOrEqual(t, f.at[20].Sub(f.at[19]), 45*time.Second, "but never given up")
		o.Close()
	})
}

// An interim report that waits when a state is reported is older than the state: sent after it, it would undo it.
func TestOutboxForgetsProgressOlderThanAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeController{answer: func(attempt int) error {
			if attempt == 1 {
				return fault.Temporary(errors.New("down"))
			}
			return nil
		}}
		o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), f, quiet)
		require.NoError(t, err)
		o.Offer(percent("task", 40))
		synctest.Wait()
		require.NoError(t, o.Put(percent("task", 100)))
		time.Sleep(time.Hour)
		require.Equal(t, []int{100}, f.seen())
		o.Close()
	})
}

func TestOutboxSurvivesRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.json")
	down := &fakeController{answer: func(int) error { return fault.Temporary(errors.New("down")) }}
	for run := range 3 {
		o, err := OpenOutbox(path, down, quiet)
		require.NoError(t, err)
		require.NoError(t, o.Put(percent("task", run)))
		o.Close()
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	up := &fakeController{}
	o, err := OpenOutbox(path, up, quiet)
	require.NoError(t, err)
	require.NoError(t, o.Flush(t.Context()))
	o.Close()
	require.Equal(t, []int{0, 1, 2}, up.seen())

	again := &fakeController{}
	o, err = OpenOutbox(path, again, quiet)
	require.NoError(t, err)
	require.NoError(t, o.Flush(t.Context()))
	o.Close()
	require.Empty(t, again.seen(), "what was delivered is not delivered again")
}

// A crash after the controller took a report and before the outbox wrote that down sends it again: at least once, in order.
func TestOutboxAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.json")
	taken := make(chan struct{})
	o, err := OpenOutbox(path, serviceFunc(func(ctx context.Context, _ Message) error {
		close(taken)
		<-ctx.Done() // the answer never arrives
		return ctx.Err()
	}), quiet)
	require.NoError(t, err)
	require.NoError(t, o.Put(percent("task", 1)))
	require.NoError(t, o.Put(percent("task", 2)))
	<-taken
	o.Close()
	f := &fakeController{}
	o, err = OpenOutbox(path, f, quiet)
	require.NoError(t, err)
	require.NoError(t, o.Flush(t.Context()))
	o.Close()
	require.Equal(t, []int{1, 2}, f.seen())
}

func TestOutboxDropsWhatIsRefusedForGood(t *testing.T) {
	f := &fakeController{answer: func(attempt int) error {
		if attempt == 1 {
			return fault.Permanent(&APIError{Status: 404})
		}
		return nil
	}}
	o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), f, quiet)
	require.NoError(t, err)
	require.NoError(t, o.Put(percent("deleted", 1)))
	require.NoError(t, o.Put(percent("task", 2)))
	require.NoError(t, o.Flush(t.Context()))
	o.Close()
	require.Equal(t, []int{2}, f.seen())
}

func TestOutboxHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeController{answer: func(attempt int) error {
			if attempt == 1 {
				return fault.Temporary(&APIError{Status: 429, RetryAfter: 10 * time.Minute})
			}
			return nil
		}}
		o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), f, quiet)
		require.NoError(t, err)
		require.NoError(t, o.Put(percent("task", 1)))
		time.Sleep(9 * time.Minute)
		require.Empty(t, f.seen())
		time.Sleep(2 * time.Minute)
		require.Equal(t, []int{1}, f.seen())
		o.Close()
	})
}

// Nobody who reports waits for a controller that hangs, and a flush ends with its context.
func TestOutboxNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), serviceFunc(func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			return fault.Temporary(ctx.Err())
		}), quiet)
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, o.Put(percent("task", 0)))
		for range 1000 {
			o.Offer(percent("task", 1))
		}
		require.Zero(t, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorContains(t, o.Flush(ctx), "1 state reports wait")
		require.Equal(t, 5*time.Second, time.Since(began))
		o.Close()
		require.ErrorContains(t, o.Flush(t.Context()), "closed")
		require.Equal(t, 5*time.Second, time.Since(began), "close does not wait for the controller")
	})
}

// Flush does not sit out a long pause.
func TestFlushTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := make(chan struct{})
		f := &fakeController{answer: func(int) error {
			select {
			case <-up:
				return nil
			default:
				return fault.Temporary(errors.New("down"))
			}
		}}
		o, err := OpenOutbox(filepath.Join(t.TempDir(), "outbox.json"), f, quiet)
		require.NoError(t, err)
		require.NoError(t, o.Put(percent("task", 1)))
		time.Sleep(time.Hour)
		close(up)
		began := time.Now()
		require.NoError(t, o.Flush(t.Context()))
		require.Zero(t, time.Since(began))
		o.Close()
	})
}

func TestOutboxFileDamagedOrNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.json")
	for _, text := range []string{"", "{", `{"version":0}`, `{"version":1,"states":7}`, "\x00\x01"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		o, err := OpenOutbox(path, &fakeController{}, quiet)
		require.NoError(t, err)
		o.Close()
		aside, err := os.ReadFile(path + ".damaged")
		require.NoError(t, err)
		require.Equal(t, text, string(aside))
	}
	require.NoError(t, os.WriteFile(path, []byte(`{"version":3}`), 0o600))
	_, err := OpenOutbox(path, &fakeController{}, quiet)
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
}

// A full disk costs durability, not the report.
func TestOutboxWithoutADisk(t *testing.T) {
	f := &fakeController{}
	o, err := OpenOutbox(filepath.Join(t.TempDir(), "missing", "outbox.json"), f, quiet)
	require.NoError(t, err)
	require.Error(t, o.Put(percent("task", 1)))
	require.NoError(t, o.Flush(t.Context()))
	o.Close()
	require.Equal(t, []int{1}, f.seen())
}

func TestWireReports(t *testing.T) {
	seconds := int64(90)
	running := report.Report{
		Subtask: "MIGRATE_LINUX_FILE", Attempt: 2, Phase: "copy", Percent: 100, Bytes: 10, BytesTotal: 20, Files: 1, FilesTotal: 2,
		Rate: 99_000_000, SentRate: 12_500_000, CompressRate: 55.5, Remaining: 89500 * time.Millisecond, Error: "cut",
	}
	require.Equal(t, smsapi.Progress{
		Subtask: smsapi.MigrateLinuxFile, Percent: 99, ReplicatedSize: 10, TotalSize: 20, MigrateSpeed: 100, CompressRate: 55.5,
		RemainTime: &seconds, ProcessTrace: `{"phase":"copy","files":1,"files_total":2,"attempt":2,"error":"cut"}`,
	}, wire(running), "only an end is 100 percent")
	for _, c := range []struct {
		report  report.Report
		percent int
		outcome smsapi.Outcome
	}{
		{report.Report{State: report.Started}, 0, ""},
		{report.Report{State: report.Ended}, 100, ""},
		{report.Report{State: report.Ended, Last: true}, 100, smsapi.OutcomeDone},
		{report.Report{State: report.Failed, Percent: 40, Error: "x"}, 40, smsapi.OutcomeFailed},
		{report.Report{State: report.Stopped, Percent: 40}, 40, smsapi.OutcomeStopped},
	} {
		p := wire(c.report)
		require.Equal(t, c.percent, p.Percent)
		trace, ok := smsapi.ParseTrace(p.ProcessTrace)
		require.True(t, ok)
		require.Equal(t, c.outcome, trace.Outcome)
		require.Nil(t, p.RemainTime)
	}
}

func FuzzOutboxFile(f *testing.F) {
	f.Add([]byte(`{"version":2,"states":[{"source":"s","state":{"copystate":"waiting"}},{"result":{}},{}]}`))
	f.Add([]byte(`{"version":1,"states":[{"task":"t","progress":{"subtask_name":"SSL_CONFIG"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "outbox.json")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		o, err := OpenOutbox(path, &fakeController{}, quiet)
		if err != nil {
			require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
			return
		}
		require.NoError(t, o.Flush(t.Context()))
		o.Close()
	})
}

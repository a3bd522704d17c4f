package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// sourceFile is the content of source.json: as whom this machine is registered.
type sourceFile struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
}

const sourceName = "source.json"

// readSource returns the id of an earlier registration, "" if there is none. A damaged file counts as none.
func readSource(dir string, log *slog.Logger) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, sourceName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read registration: %w", err)
	}
	var file sourceFile
	if json.Unmarshal(text, &file) != nil || file.Version != 1 || !isTaskID(file.ID) {
		log.Warn("the file with the registration is damaged; registering anew", "file", sourceName)
		return "", nil
	}
	return file.ID, nil
}

// enrol does what has to be done once at each start: see that the service answers and takes our proof, accept the privacy
// statement, register. It waits as long as it takes for what waiting mends; a source that was registered before waits for the rest
// as well, because whoever starts it after a reboot is not there to read an error.
func (d *Daemon) enrol(ctx context.Context) (smsapi.RegisterSource, error) {
	var host smsapi.RegisterSource
	steps := func(int) error {
		if err := d.cfg.Service.ServiceConfig(ctx); err != nil && !isAbsent(err) {
			return err
		}
		if err := d.agree(ctx); err != nil {
			return err
		}
		host = d.cfg.Host(ctx)
		return d.register(ctx, host)
	}
	again := newRetry(func() int64 { return 0 }, func(_ int, err error, pause time.Duration) {
		d.note(err)
		d.cfg.Log.Warn("not registered yet", "error", err, "code", reporter.SMSCode(err), "again_in", pause)
	})
	err := again.run(ctx, func(attempt int) error {
		err := steps(attempt)
		if err != nil && ctx.Err() == nil && d.source() != "" {
			return fault.Temporary(err)
		}
		return err
	})
	if err == nil {
		d.note(nil)
	}
	return host, err
}

// agree sees to the privacy statement. A service that knows of none is fine.
func (d *Daemon) agree(ctx context.Context) error {
	agreed, err := d.cfg.Service.PrivacyAgreed(ctx)
	if isAbsent(err) || agreed {
		return nil
	}
	if err != nil {
		return err
	}
	if !d.cfg.Privacy {
		return fault.Operator("FERRY-PRIVACY", "read the service's privacy statement and set accept_privacy_statement: true",
			errors.New("the privacy statement of the service is not accepted"))
	}
	return d.cfg.Service.AgreePrivacy(ctx)
}

// register registers the source under the id it had, or anew if the service does not know that any more.
func (d *Daemon) register(ctx context.Context, host smsapi.RegisterSource) error {
	host.ID = d.source()
	id, err := d.cfg.Service.RegisterSource(ctx, host)
	if reporter.IsGone(err) && host.ID != "" {
		d.cfg.Log.Warn("the service does not know this source any more; registering it as a new one", "source", host.ID)
		d.dropTasks()
		host.ID = ""
		id, err = d.cfg.Service.RegisterSource(ctx, host)
	}
	if err != nil {
		return err
	}
	if !isTaskID(id) {
		return fault.Temporary(fmt.Errorf("the service sent an id that is none: %.40q", id))
	}
	if d.source() == id {
		d.cfg.Log.Info("registered again", "source", id)
		return nil
	}
	text, err := json.Marshal(sourceFile{Version: 1, ID: id})
	if err == nil {
		err = durable.WriteFile(filepath.Join(d.cfg.Dir, sourceName), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write registration: %w", err)
	}
	d.mu.Lock()
	d.id = id
	d.mu.Unlock()
	d.cfg.Log.Info("registered", "source", id, "name", host.Name)
	return nil
}

// poll asks for commands and obeys them until ctx is done.
func (d *Daemon) poll(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(d.cfg.Poll), backoff.WithMaxInterval(max(slowPoll, d.cfg.Poll)),
		backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0),
	)
	missed := 0
	for ctx.Err() == nil {
		err := d.ask(ctx)
		pause := d.cfg.Poll/2 + rand.N(d.cfg.Poll)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			missed = 0
			wait.Reset()
		case reporter.IsGone(err):
			missed++ // once may be an accident on the way
			if missed == 2 && reporter.IsGone(d.cfg.Service.KnowsSource(ctx, d.source())) {
				d.sourceGone()
			}
		default:
			pause = max(wait.NextBackOff(), reporter.RetryAfter(err))
			d.cfg.Log.Warn("no command could be had", "error", err, "code", reporter.SMSCode(err), "again_in", pause)
		}
		d.note(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return cancelled(ctx)
}

// ask asks for one command, obeys and answers it. What the controller should know is told before: a command that it gives without
// knowing it may be out of date.
func (d *Daemon) ask(ctx context.Context) error {
	flush, cancel := context.WithTimeout(ctx, toldIn)
	told := d.reports.Flush(flush) == nil
	cancel()
	c, err := d.cfg.Service.Command(ctx, d.source())
	if err != nil {
		return err
	}
	obey, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	answer, outcome := d.obey(obey, c, told)
	if ctx.Err() != nil || !answer {
		return nil
	}
	d.cfg.Log.Info("command", "command", c.Name, "outcome", outcome)
	if err := d.reports.Answer(d.source(), result(c, outcome)); err != nil {
		d.cfg.Log.Error("an answer could not be written down", "command", c.Name, "error", err)
	}
	return nil
}

// note remembers what keeps the service from being asked, for the status.
func (d *Daemon) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = ""
	if err != nil {
		d.trouble = err.Error()
	}
	if err == nil {
		d.gone = false
		d.contact = time.Now()
	}
}

// sourceGone does what follows from the deletion of this source at the service: its tasks end and are forgotten. Only a new start of
// the agent registers it again, which is for a person to decide.
func (d *Daemon) sourceGone() {
	d.cfg.Log.Error("this source was deleted at the service; its tasks are given up. Start the agent anew to register it again", "source", d.source())
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	d.dropTasks()
}

// dropTasks ends all tasks and forgets them.
func (d *Daemon) dropTasks() {
	file, _ := d.queue.state()
	for i := len(file.Orders) - 1; i >= 0; i-- { // the one that runs last, so that none takes its place
		task := file.Orders[i].Task
		if ended := d.cancel(task, errDeleted); ended != nil {
			<-ended
		}
		if err := errors.Join(d.queue.remove(task), forgetJournal(d.cfg.Dir, task)); err != nil {
			d.cfg.Log.Error("a task could not be forgotten", "task", task, "error", err)
		}
	}
	if err := forgetJournals(d.cfg.Dir); err != nil {
		d.cfg.Log.Error("journals could not be removed", "error", err)
	}
}

// diskEvery is how often the disks are looked at while nothing runs, as the vendor's agent does.
const diskEvery = 2 * time.Hour

// watchDisks tells the service when the disks change while no task runs.
func (d *Daemon) watchDisks(ctx context.Context, host smsapi.RegisterSource) error {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	known := disksOf(host)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cancelled(ctx)
		}
		if file, _ := d.queue.state(); len(file.Orders) > 0 {
			continue
		}
		now := disksOf(d.cfg.Host(ctx))
		if ctx.Err() != nil || reflect.DeepEqual(known, now) {
			continue
		}
		if err := d.cfg.Service.UpdateDisks(ctx, d.source(), now); err != nil {
			d.cfg.Log.Warn("the disks changed, and the service could not be told", "error", err)
			continue
		}
		d.cfg.Log.Info("the disks changed")
		known = now
	}
}

func disksOf(host smsapi.RegisterSource) smsapi.UpdateDiskInfo {
	return smsapi.UpdateDiskInfo{Disks: host.Disks, VolumeGroups: host.VolumeGroups, BtrfsList: host.BtrfsList}
}

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// obey does what a command says and returns what to answer it with; answer is false for those that want none. Every command may
// come any number of times, and in any order with others: it says how things should be, not what to do next.
func (d *Daemon) obey(ctx context.Context, c smsapi.Command, told bool) (answer bool, outcome error) {
	param := smsapi.CommandParam{}
	if c.Param != nil {
		param = *c.Param
	}
	switch c.Name {
	case "", smsapi.TaskNotStarted, smsapi.TaskHasStopped, smsapi.TaskHasFinished:
		return false, nil
	case smsapi.CommandStart, smsapi.CommandSync:
		if !told && !d.queue.holds(param.Task) {
			d.cfg.Log.Info("the controller does not know yet how things stand; the command has to wait", "command", c.Name, "task", param.Task)
			return false, nil
		}
		return true, d.start(ctx, param.Task, c.Name == smsapi.CommandSync)
	case smsapi.CommandStop:
		return true, d.stopTask(ctx, param.Task, ErrStopped)
	case smsapi.CommandDelete:
		return true, d.deleteTask(ctx, param.Task)
	case smsapi.CommandUploadLog:
		return true, d.uploadLog(ctx, param)
	case smsapi.CommandNetworkCheck:
		return true, d.measure(ctx, param.Task)
	case smsapi.CommandPremigrate:
		err := d.reports.SourceState(d.source(), smsapi.CopyState{State: string(smsapi.SourcePremigFailed), Cycle: string(smsapi.CycleSetting)})
		return true, errors.Join(refuse(c.Name, "start the task without a drill"), err)
	case smsapi.CommandSkip:
		return true, refuse(c.Name, "stop the task; the verification is a part of each pass here and cannot be left out of one that runs")
	case smsapi.CommandResetLogACL:
		return true, refuse(c.Name, "change the access rights of the log where it was uploaded to")
	default:
		return true, refuse(c.Name, "use a later version of ferry")
	}
}

func refuse(name smsapi.CommandName, remedy string) error {
	return fault.Operator("FERRY-COMMAND", remedy, fmt.Errorf("this agent cannot do %.40q", string(name)))
}

// result is the answer to a command.
func result(c smsapi.Command, outcome error) smsapi.CommandResult {
	r := smsapi.CommandResult{Name: c.Name, Result: smsapi.ResultSuccess}
	detail := struct {
		Message string `json:"message"`
		Code    string `json:"code,omitempty"`
		Remedy  string `json:"remedy,omitempty"`
	}{Message: "done"}
	if outcome != nil {
		r.Result = smsapi.ResultFail
		detail.Message, detail.Code, detail.Remedy = outcome.Error(), fault.CodeOf(outcome), fault.RemedyOf(outcome)
	}
	r.Detail, _ = json.Marshal(detail) // three strings
	return r
}

// start orders a task to run. One that runs already is looked at: a launch may have been ordered meanwhile.
func (d *Daemon) start(ctx context.Context, task string, again bool) error {
	if !isTaskID(task) {
		return fmt.Errorf("the command names no task: %.40q", task)
	}
	if d.queue.holds(task) {
		return d.look(ctx, task)
	}
	if _, err := d.cfg.Service.Task(ctx, task); reporter.IsGone(err) {
		return err
	}
	d.cfg.Log.Info("task ordered", "task", task, "again", again)
	return d.queue.add(order{Task: task, Again: again})
}

// stopTask ends a task, whether it runs or waits, so that it can be resumed; it returns once that is so.
func (d *Daemon) stopTask(ctx context.Context, task string, cause error) error {
	if !isTaskID(task) {
		return fmt.Errorf("the command names no task: %.40q", task)
	}
	if ended := d.cancel(task, cause); ended != nil {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := d.queue.remove(task); err != nil {
		return err
	}
	if cause == ErrStopped { // nothing runs that would say so
		return d.sayStopped(task)
	}
	return nil
}

// deleteTask ends a task and forgets it.
func (d *Daemon) deleteTask(ctx context.Context, task string) error {
	if err := d.stopTask(ctx, task, errDeleted); err != nil {
		return err
	}
	d.cfg.Log.Info("task deleted", "task", task)
	return forgetJournal(d.cfg.Dir, task)
}

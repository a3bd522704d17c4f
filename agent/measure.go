package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Target returns where the `ferry target` of a task is, as HOST:PORT, and the code that enrols this source there; the code is empty
// when the two know each other.
func (s *Session) Target(t *Task) (address, code string, err error) {
	options, err := ParseOptions(t.Settings, s.Log)
	if err != nil {
		return "", "", err
	}
	if t.Spec.TargetServer == nil || !isReceiver(&t.Spec, options) {
		return "", "", fault.Operator("FERRY-NOT-BUILT", "name a running `ferry target`, see docs/AGENT.md",
			errors.New("the target of the task is not a `ferry target`"))
	}
	address, err = s.address(text(t.Spec.MigrationIP), options)
	return address, t.Spec.TargetServer.VMID, err
}

// measure measures the way to the target of a task and tells the service, unless a task runs: the two would hinder each other, and
// a STOP would have to wait.
func (d *Daemon) measure(ctx context.Context, task string) error {
	if !isTaskID(task) {
		return fmt.Errorf("the command names no task: %.40q", task)
	}
	if d.Agent().Task != nil {
		return fault.Operator("FERRY-BUSY", "ask again when no task runs", errors.New("a task runs on this source"))
	}
	if d.cfg.Measure == nil {
		return refuse(smsapi.CommandNetworkCheck, "use `ferry check --target` on the source")
	}
	t := &Task{ID: task}
	if err := New(Config{Controller: d.cfg.Service, Details: d.cfg.Service}).read(ctx, t); err != nil {
		return err
	}
	check, err := d.cfg.Measure(ctx, t)
	if err != nil {
		return err
	}
	return d.cfg.Service.UpdateNetworkCheck(ctx, task, check)
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// quiet returns what runs the last pass between the hooks, nil without hooks. The second hook runs whatever became of the first
// and of the pass, also after a cancel: it undoes what the first did.
func (m *migration) quiet() func(context.Context, func() error) error {
	f := m.flags
	if f.beforeFreeze == "" && f.afterThaw == "" {
		return nil
	}
	return func(ctx context.Context, pass func() error) error {
		err := m.hook(ctx, "before-freeze", f.beforeFreeze)
		if err == nil {
			err = pass()
		}
		return errors.Join(err, m.hook(context.WithoutCancel(ctx), "after-thaw", f.afterThaw))
	}
}

func (m *migration) hook(ctx context.Context, name, line string) error {
	if line == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.flags.hookTimeout)
	defer cancel()
	if _, err := command.Run(ctx, m.log, shell(line)...); err != nil {
		return fault.Operator("FERRY-HOOK", "run the command by hand to see why, or give it more time with --hook-timeout", fmt.Errorf("--%s: %w", name, err))
	}
	return nil
}

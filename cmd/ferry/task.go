package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/spf13/cobra"
)

// watchEvery is how often `ferry task watch` looks.
const watchEvery = 2 * time.Second

// taskFlags are those of every command that asks a controller.
type taskFlags struct {
	state, controller string
	json              bool
}

// taskCommand reads tasks from a controller, and changes them there or where they run.
func taskCommand() *cobra.Command {
	f := &taskFlags{}
	cmd := &cobra.Command{Use: "task", Short: "See and steer migrations", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usagef("say which: ferry task create, list, show, watch, start, stop, sync, clone, cutover, delete or limit")
	}}
	f.register(cmd)
	cmd.AddCommand(taskCreateCommand(f), taskListCommand(f), taskShowCommand(f), taskWatchCommand(f), taskStartCommand(f), taskStopCommand(f),
		taskSyncCommand(f), taskCloneCommand(f), taskCutoverCommand(f), taskDeleteCommand(f), taskLimitCommand(f))
	return cmd
}

// register adds the flags that all commands of a controller have.
func (f *taskFlags) register(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.state, "state", "", "state directory of the migration, or of the controller")
	cmd.PersistentFlags().StringVar(&f.controller, "controller", "", "URL of a controller; its key is read from CLOUD_SDK_AK and CLOUD_SDK_SK")
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "print one JSON object per line")
}

func taskListCommand(f *taskFlags) *cobra.Command {
	query := smsapi.TaskQuery{Limit: smsapi.DefaultLimit}
	cmd := &cobra.Command{
		Use: "list", Short: "List tasks, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), func(c *reporter.Client) error {
				list, err := c.ListTasks(cmd.Context(), query)
				if err != nil {
					return err
				}
				return f.print(cmd.OutOrStdout(), list.Tasks)
			})
		},
	}
	cmd.Flags().StringVar((*string)(&query.State), "task-state", "", "only tasks in this state, for example RUNNING")
	cmd.Flags().StringVar(&query.Name, "name", "", "only tasks with this name")
	cmd.Flags().StringVar(&query.SourceServerID, "source", "", "only tasks of this source")
	cmd.Flags().IntVar(&query.Limit, "limit", query.Limit, "at most so many, up to 200")
	cmd.Flags().IntVar(&query.Offset, "offset", 0, "skip so many")
	return cmd
}

func taskShowCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show [TASK]", Short: "Show a task and its subtasks; without an id, the newest", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), func(c *reporter.Client) error {
				task, err := findTask(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				return f.printOne(cmd.OutOrStdout(), task)
			})
		},
	}
}

func taskWatchCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "watch [TASK]", Short: "Follow a task until it ends", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var id string
			err := f.with(cmd.Context(), func(c *reporter.Client) error {
				task, err := findTask(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				id = task.ID
				return nil
			})
			if err != nil {
				return err
			}
			return f.watch(cmd.Context(), cmd.OutOrStdout(), id)
		},
	}
}

// with calls do with a client of the controller.
func (f *taskFlags) with(ctx context.Context, do func(*reporter.Client) error) error {
	state, err := stateDir(f.state)
	if err != nil {
		return err
	}
	client, close, err := connect(ctx, f.controller, state)
	if err != nil {
		return err
	}
	defer close()
	return do(client)
}

// control returns a client of the process that runs a task with the state directory, after a check that it is the task named in
// args, if one is.
func (f *taskFlags) control(ctx context.Context, args []string) (*agent.ControlClient, error) {
	state, err := stateDir(f.state)
	if err != nil {
		return nil, err
	}
	c := agent.DialControl(state)
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 && args[0] != status.Task {
		return nil, fault.Operator("FERRY-NOT-RUNNING", "see `ferry task list`", fmt.Errorf("task %s does not run here, %s does", args[0], status.Task))
	}
	return c, nil
}

// findTask returns the task named in args, else the newest.
func findTask(ctx context.Context, c *reporter.Client, args []string) (smsapi.Task, error) {
	if len(args) > 0 {
		return c.Task(ctx, args[0])
	}
	list, err := c.ListTasks(ctx, smsapi.TaskQuery{Limit: 1})
	if err != nil {
		return smsapi.Task{}, err
	}
	if len(list.Tasks) == 0 {
		return smsapi.Task{}, fault.Operator("FERRY-NO-TASK", "start one with `ferry migrate`", fmt.Errorf("the controller has no task"))
	}
	return c.Task(ctx, list.Tasks[0].ID)
}

// watch prints a task whenever it changed, until it ended. It connects anew each time, because the controller inside `ferry migrate`
// ends with the task; what it left tells the end.
func (f *taskFlags) watch(ctx context.Context, out io.Writer, id string) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := ""
	for {
		var task smsapi.Task
		err := f.with(ctx, func(c *reporter.Client) (err error) {
			task, err = c.Task(ctx, id)
			return err
		})
		if err != nil {
			return err
		}
		if line := watchLine(task); line != last {
			last = line
			if err := f.printLine(out, line, task); err != nil {
				return err
			}
		}
		switch task.State {
		case smsapi.StateMigrateSuccess, smsapi.StateSyncSuccess:
			return nil
		case smsapi.StateMigrateFail, smsapi.StateSyncFail, smsapi.StateAbort:
			return fmt.Errorf("task %s ended as %s: %s", task.ID, task.State, cmp.Or(errorText(task.ErrorJSON), "no error was reported"))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

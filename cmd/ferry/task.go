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

// taskFlags are those of every task command.
type taskFlags struct {
	state, controller string
	json              bool
}

// taskCommand reads tasks from a controller and steers the one that runs here.
func taskCommand() *cobra.Command {
	f := &taskFlags{}
	cmd := &cobra.Command{Use: "task", Short: "See and steer migrations", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usagef("say which: ferry task list, show, watch, cutover, limit or stop")
	}}
	cmd.PersistentFlags().StringVar(&f.state, "state", "", "state directory of the migration")
	cmd.PersistentFlags().StringVar(&f.controller, "controller", "", "URL of a controller; its key is read from CLOUD_SDK_AK and CLOUD_SDK_SK")
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "print one JSON object per line")
	cmd.AddCommand(taskListCommand(f), taskShowCommand(f), taskWatchCommand(f),
		taskCutoverCommand(f), taskLimitCommand(f), taskStopCommand(f))
	return cmd
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

func taskCutoverCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "cutover [TASK]", Short: "Do the last sync pass of the task that runs here, then end it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.control(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.Cutover(cmd.Context())
		},
	}
}

func taskLimitCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "limit [TASK] RATE", Short: "Change the limit of the task that runs here: 200Mbit, 25MiB, 0 for none", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.control(cmd.Context(), args[:len(args)-1])
			if err != nil {
				return err
			}
			return c.SetLimit(cmd.Context(), args[len(args)-1])
		},
	}
}

func taskStopCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "stop [TASK]", Short: "Stop the task that runs here; running the same migration again resumes it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.control(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.Stop(cmd.Context())
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

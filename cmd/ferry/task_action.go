package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/spf13/cobra"
)

// The commands that change a task. The controller tells them to the agent of its source when that asks next; what `ferry migrate`
// runs on this machine hears of them at once.

func taskStartCommand(f *taskFlags) *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use: "start TASK", Short: "Begin a task, or go on after a stop or an error", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.act(cmd, args[0], smsapi.TaskAction{Operation: smsapi.OpStart, NeedConsistencyCheck: verify})
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare source and target afterwards")
	return cmd
}

func taskSyncCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "sync TASK", Short: "Do one more incremental pass of a task that is done", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.act(cmd, args[0], smsapi.TaskAction{Operation: smsapi.OpRestart})
		},
	}
}

func taskCloneCommand(f *taskFlags) *cobra.Command {
	var template string
	cmd := &cobra.Command{
		Use: "clone TASK", Short: "Clone the target of a task that keeps syncing, for a test", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.act(cmd, args[0], smsapi.TaskAction{Operation: smsapi.OpCloneTest, TemplateID: template})
		},
	}
	cmd.Flags().StringVar(&template, "template", "", "id of the template that the clone is made from")
	return cmd
}

func taskDeleteCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "delete TASK…", Short: "Delete tasks; what their targets have received stays there", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.live(cmd.Context(), func(c *reporter.Client) error {
				for _, id := range args {
					if err := c.DeleteTask(cmd.Context(), id); err != nil {
						return err
					}
					if err := f.done(cmd.OutOrStdout(), id, "delete"); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func taskCutoverCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "cutover [TASK]", Short: "Do the last sync pass of a task, then launch its target; without an id, of the one that runs here", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.steer(cmd, args, func(c *agent.ControlClient) error { return c.Cutover(cmd.Context()) }, func(id string) error {
				return f.act(cmd, id, smsapi.TaskAction{Operation: smsapi.OpCutover})
			})
		},
	}
}

func taskStopCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "stop [TASK]", Short: "Stop a task so that it can go on later; without an id, the one that runs here", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.steer(cmd, args, func(c *agent.ControlClient) error { return c.Stop(cmd.Context()) }, func(id string) error {
				return f.act(cmd, id, smsapi.TaskAction{Operation: smsapi.OpStop})
			})
		},
	}
}

func taskLimitCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "limit [TASK] RATE",
		Short: "Change the limit of a task: 200Mbit, 25MiB, 0 for none, 08:00-18:00=100Mbit; without an id, of the one that runs here",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate := args[len(args)-1]
			return f.steer(cmd, args[:len(args)-1], func(c *agent.ControlClient) error { return c.SetLimit(cmd.Context(), rate) }, func(id string) error {
				windows, err := limitWindows(rate)
				if err != nil {
					return err
				}
				return f.live(cmd.Context(), func(c *reporter.Client) error {
					if err := c.SetSpeedLimits(cmd.Context(), id, windows); err != nil {
						return err
					}
					return f.done(cmd.OutOrStdout(), id, "limit")
				})
			})
		},
	}
}

// steer changes the task that runs here, if it is the one named in args or none is named, else the named one at the controller.
func (f *taskFlags) steer(cmd *cobra.Command, args []string, here func(*agent.ControlClient) error, there func(id string) error) error {
	if f.controller == "" {
		c, err := f.control(cmd.Context(), args)
		if err == nil {
			return here(c)
		}
		if len(args) == 0 || fault.CodeOf(err) != "FERRY-NOT-RUNNING" {
			return err
		}
		if failed := there(args[0]); fault.CodeOf(failed) != "FERRY-NO-CONTROLLER" {
			return failed
		}
		return err
	}
	if len(args) == 0 {
		return usagef("name the task: the controller may have many")
	}
	return there(args[0])
}

// act asks the controller for an operation on a task.
func (f *taskFlags) act(cmd *cobra.Command, id string, action smsapi.TaskAction) error {
	return f.live(cmd.Context(), func(c *reporter.Client) error {
		if err := c.Act(cmd.Context(), id, action); err != nil {
			return err
		}
		return f.done(cmd.OutOrStdout(), id, cmd.Name())
	})
}

// done says with --json what was ordered; a person sees no error.
func (f *taskFlags) done(out io.Writer, id, operation string) error {
	if !f.json {
		return nil
	}
	return json.NewEncoder(out).Encode(struct {
		ID        string `json:"id"`
		Operation string `json:"operation"`
	}{id, operation})
}

// live calls do with a client of a controller that runs: orders to the history of one that is gone would never be carried out.
func (f *taskFlags) live(ctx context.Context, do func(*reporter.Client) error) error {
	if f.controller != "" {
		return f.with(ctx, do)
	}
	state, err := stateDir(f.state)
	if err != nil {
		return err
	}
	record, err := readControllerRecord(state)
	if err != nil {
		return err
	}
	if record.URL == "" {
		return noController(fmt.Errorf("no controller is known in %s", state))
	}
	client, err := recorded(ctx, record)
	if fault.ClassOf(err) == fault.ClassTemporary {
		return noController(fmt.Errorf("the controller at %s does not answer: %w", record.URL, err))
	}
	if err != nil {
		return err
	}
	defer client.Close()
	return do(client)
}

func noController(err error) error {
	return fault.Operator("FERRY-NO-CONTROLLER", "start it, or name the one that has the task with --controller", err)
}

// maxAPILimit is the highest limit that the API knows, Mbit/s.
const maxAPILimit = 1000

// wholeDay is the time of day of a limit that always holds: it ends when it starts.
const wholeDay = "00:00"

// limitWindows returns a limit of the command line as the API has it.
func limitWindows(text string) (windows []smsapi.LimitWindow, err error) {
	if _, err := ratelimit.ParseLimit(text); err != nil {
		return nil, err
	}
	if !strings.Contains(text, "=") {
		speed, err := mbit(text)
		if err != nil || speed == 0 {
			return nil, err
		}
		return []smsapi.LimitWindow{{Start: wholeDay, End: wholeDay, Speed: speed}}, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		span, rate, _ := strings.Cut(part, "=")
		from, to, _ := strings.Cut(span, "-")
		speed, err := mbit(strings.TrimSpace(rate))
		if err != nil {
			return nil, err
		}
		windows = append(windows, smsapi.LimitWindow{Start: timeOfDay(from), End: timeOfDay(to), Speed: speed})
	}
	return windows, nil
}

// timeOfDay spells the end of a day as its start.
func timeOfDay(text string) string {
	if text = strings.TrimSpace(text); text == "24:00" {
		return wholeDay
	}
	return text
}

// mbit converts a rate to whole Mbit/s, one at least.
func mbit(text string) (int, error) {
	rate, err := ratelimit.ParseRate(text)
	if err != nil {
		return 0, err
	}
	speed := int(math.Ceil(smsapi.Mbps(rate)))
	if speed > maxAPILimit {
		return 0, fault.Operator("FERRY-LIMIT", "choose 1000Mbit or less, or 0 for none", errors.New("the API knows no limit above 1000 Mbit/s"))
	}
	return speed, nil
}

package agent

import (
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// State is the state of a task on the source. It is written to journals.
type State string

// The states.
const (
	Ready   State = "ready"   // known, not begun
	Running State = "running" // a subtask runs, or waits for its next attempt
	Syncing State = "syncing" // the same, after the first copy
	Stopped State = "stopped" // somebody stopped it; it goes on where it was
	Failed  State = "failed"  // an error ended it; it goes on where it was when it is started again
	Done    State = "done"    // every subtask is done; started again it begins anew
)

// Event is what changes a state.
type Event string

// The events.
const (
	Begin  Event = "begin"  // a subtask that is not a sync begins
	Sync   Event = "sync"   // a sync begins
	Finish Event = "finish" // the last subtask is done
	Stop   Event = "stop"   // somebody stopped the task
	Fail   Event = "fail"   // an error ended the task
)

// transitions is the whole state machine. What is not in it cannot happen.
var transitions = map[State]map[Event]State{
	Ready:   {Begin: Running, Sync: Syncing, Stop: Stopped, Fail: Failed, Finish: Done},
	Running: {Begin: Running, Sync: Syncing, Stop: Stopped, Fail: Failed, Finish: Done},
	Syncing: {Begin: Syncing, Sync: Syncing, Stop: Stopped, Fail: Failed, Finish: Done},
	Stopped: {Begin: Running, Sync: Syncing, Stop: Stopped, Fail: Failed},
	Failed:  {Begin: Running, Sync: Syncing, Stop: Stopped, Fail: Failed},
	Done:    {Begin: Running, Sync: Syncing, Stop: Stopped, Fail: Failed},
}

// Next returns the state after an event.
func (s State) Next(e Event) (State, error) {
	next, ok := transitions[s][e]
	if !ok {
		return s, fmt.Errorf("a task that is %s cannot %s", s, e)
	}
	return next, nil
}

// states and events list what the table is about, in the order of the diagram.
var (
	states = []State{Ready, Running, Syncing, Stopped, Failed, Done}
	events = []Event{Begin, Sync, Finish, Stop, Fail}
)

// Diagram returns the table as a Mermaid state diagram. docs/AGENT.md shows it; a test keeps the two the same.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> ready\n")
	for _, from := range states {
		words := map[State][]string{}
		for _, e := range events {
			if to, ok := transitions[from][e]; ok {
				words[to] = append(words[to], string(e))
			}
		}
		for _, to := range states {
			if len(words[to]) > 0 {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", from, to, strings.Join(words[to], ", "))
			}
		}
	}
	return b.String()
}

// sourceState returns the state that the source is in while a subtask runs.
func sourceState(name smsapi.SubtaskName) (smsapi.SourceState, smsapi.MigrationCycle) {
	switch name {
	case smsapi.MigrateLinuxFile, smsapi.MigrateLinuxBlock, smsapi.MigrateWindowsBlock:
		return smsapi.SourceReplicate, smsapi.CycleReplicating
	case smsapi.SyncLinuxFile, smsapi.SyncLinuxBlock, smsapi.SyncWindowsBlock:
		return smsapi.SourceSyncing, smsapi.CycleSyncing
	case smsapi.CloneVM:
		return smsapi.SourceCloning, smsapi.CycleSyncing
	case smsapi.ConfigureLinux, smsapi.ConfigureLinuxBlock, smsapi.ConfigureLinuxFile, smsapi.ConfigureWindows, smsapi.DetachAgentImage:
		return smsapi.SourceCutovering, smsapi.CycleCutovering
	default:
		return smsapi.SourceInit, smsapi.CycleReplicating
	}
}

package agent

import "fmt"

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

// Package report holds the status of a migration as plain values: what the agent's runner says, what the reporter sends and
// what a person is shown. A report is a copy; whoever holds one may keep it. It uses the standard library only.
package report

import "time"

// State says where a subtask is.
type State uint8

const (
	// Running is an interim report. It may be dropped when a newer one is there.
	Running State = iota
	// Started is the first report of a subtask.
	Started
	// Ended is the last report of a subtask that is done.
	Ended
	// Failed is the last report of a task that an error ended.
	Failed
	// Stopped is the last report of a task that somebody stopped; it can be resumed.
	Stopped
)

// String returns the state in lower case.
func (s State) String() string {
	return [...]string{"running", "started", "ended", "failed", "stopped"}[min(s, Stopped)]
}

// Durable reports whether a report in this state must reach the controller, in order, whatever happens to network and agent.
func (s State) Durable() bool { return s != Running }

// Report is one moment of one subtask. Sizes are bytes of the task.
type Report struct {
	Task    string `json:"task"`    // id at the controller
	Subtask string `json:"subtask"` // its name in the API
	State   State  `json:"state"`
	Last    bool   `json:"last,omitempty"`    // valid in Ended: it was the task's last subtask
	Attempt int    `json:"attempt,omitempty"` // of the subtask, from 1

	Phase      string `json:"phase,omitempty"` // of the subtask, valid in Running
	Percent    int    `json:"percent"`         // 100 in Ended only
	Bytes      int64  `json:"bytes"`           // done
	BytesTotal int64  `json:"bytes_total"`     // 0 while unknown
	Files      int64  `json:"files"`
	FilesTotal int64  `json:"files_total"` // 0 while unknown

	Rate         int64         `json:"rate"`          // bytes per second over the last 5 s
	SentRate     int64         `json:"sent_rate"`     // the same on the wire, both directions; -1 where that is not counted
	CompressRate float64       `json:"compress_rate"` // percent of the original size left; 100 = nothing gained
	Remaining    time.Duration `json:"remaining"`     // valid when positive; 0 or less is unknown

	Error  string `json:"error,omitempty"`  // valid in Failed; in Running: why the last attempt ended
	Code   string `json:"code,omitempty"`   // stable code of Error, if it has one
	Remedy string `json:"remedy,omitempty"` // what to try, if that is known
}

package smsapi

import "encoding/json"

// Outcome says how a task ended for the agent that reports it. Empty while it goes on.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"    // every subtask of the task is done
	OutcomeFailed  Outcome = "failed"  // an error ended the task
	OutcomeStopped Outcome = "stopped" // somebody stopped the task; it can be resumed
)

// Trace is what Ferry's agent puts into process_trace, as JSON. The service documents the field as free text and no other
// field of a progress report can carry an error, so this is where the end of a task is told.
type Trace struct {
	Phase      string  `json:"phase,omitempty"` // of the subtask: scan, copy, verify …
	Files      int64   `json:"files,omitempty"`
	FilesTotal int64   `json:"files_total,omitempty"`
	Attempt    int     `json:"attempt,omitempty"` // from the second one on
	Outcome    Outcome `json:"outcome,omitempty"`
	Error      string  `json:"error,omitempty"`  // why it failed, or why this attempt waits
	Code       string  `json:"code,omitempty"`   // stable code of Error
	Remedy     string  `json:"remedy,omitempty"` // what to try
}

// maxCode is the longest code and phase in a trace, in characters.
const maxCode = 80

// String returns the trace as JSON of at most MaxTrace characters: long texts are cut.
func (t Trace) String() string {
	t.Phase, t.Code = trim(t.Phase, maxCode), trim(t.Code, maxCode)
	for n := maxMessage; ; n /= 2 { // quoting can lengthen a text sixfold
		t.Error, t.Remedy = trim(t.Error, n), trim(t.Remedy, n/2)
		if text, err := json.Marshal(t); err == nil && len(text) <= MaxTrace {
			return string(text)
		}
	}
}

// ParseTrace reads a process_trace. It returns false for text that is not a Trace, which comes from other agents.
func ParseTrace(text string) (t Trace, ok bool) {
	if json.Unmarshal([]byte(text), &t) != nil {
		return Trace{}, false
	}
	return t, true
}

// ErrorJSON returns the trace's error as the error_json of a task, at most 1024 characters.
func (t Trace) ErrorJSON() string {
	message := t.Error
	if t.Remedy != "" {
		message += ": " + t.Remedy
	}
	for n := maxMessage; ; n /= 2 {
		text, err := json.Marshal(Error{Code: trim(t.Code, maxCode), Message: trim(message, n)})
		if err == nil && len(text) <= maxMessage {
			return string(text)
		}
	}
}

// Package fault gives an error its class: what the machine should do next, and what the human should try.
//
// The class is decided where the error is born and survives wrapping with %w. One place, the runner, acts on it:
// a temporary error is retried with backoff, a permanent one ends the task, an operator error ends the task and
// shows its remedy. An error without a class is permanent: retrying what nobody understood hides it.
//
// Codes of operator errors are stable (FERRY-…); they are documented and may be matched by scripts.
package fault

import (
	"context"
	"errors"
)

// Class says what to do about an error.
type Class uint8

const (
	// ClassPermanent errors are not retried.
	ClassPermanent Class = iota
	// ClassTemporary errors are retried with backoff: a lost connection, a busy device, a server that answers 503.
	ClassTemporary
	// ClassOperator errors need a person; they carry a code and a remedy.
	ClassOperator
)

// String returns "permanent", "temporary" or "operator".
func (c Class) String() string {
	switch c {
	case ClassTemporary:
		return "temporary"
	case ClassOperator:
		return "operator"
	default:
		return "permanent"
	}
}

// Error is an error with a class. Code and Remedy are empty unless the class is ClassOperator.
type Error struct {
	Class  Class
	Code   string // stable, for example "FERRY-TARGET-FULL"
	Remedy string // one sentence that says what to try
	Err    error
}

// Error returns the message of the wrapped error; code and remedy are shown by whoever prints for a person.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// Temporary marks err as worth retrying. A nil err stays nil.
func Temporary(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: ClassTemporary, Err: err}
}

// Permanent marks err as not worth retrying. A nil err stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: ClassPermanent, Err: err}
}

// Operator marks err as something a person has to change, with a stable code and a remedy. A nil err stays nil.
func Operator(code, remedy string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: ClassOperator, Code: code, Remedy: remedy, Err: err}
}

// ClassOf returns the class of the outermost classified error in the chain of err. A cancelled context is permanent.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassPermanent
}

// CodeOf returns the code of the outermost operator error in the chain of err, or "".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// RemedyOf returns the remedy of the outermost operator error in the chain of err, or "".
func RemedyOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Remedy
	}
	return ""
}

// Cancelled reports whether err comes from a context that somebody cancelled, as opposed to one whose deadline passed.
func Cancelled(err error) bool { return errors.Is(err, context.Canceled) }

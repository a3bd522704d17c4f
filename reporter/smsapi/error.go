package smsapi

import (
	"fmt"
	"net/http"
	"unicode"
	"unicode/utf8"
)

// Error codes. The SMS and APIGW ones are the service's; the service documents none for the FERRY ones.
const (
	CodeNotStoppable   = "SMS.1038"   // only a running task can be paused; this one and the next two are from the old list
	CodeNotStartable   = "SMS.1039"   // only a task that is ready, paused or failed can be started
	CodeNotRestartable = "SMS.1040"   // only a finished task can be run again
	CodeSubtaskName    = "SMS.6004"   // no such subtask name
	CodeCommand        = "SMS.6021"   // a result for another command than the one that was sent
	CodeResult         = "SMS.6022"   // a result that is neither success nor fail
	CodeTaskName       = "SMS.7711"   // a task name with other than letters, digits, '_' and '-'
	CodeForbidden      = "SMS.9004"   // the caller is known and may not do this
	CodeOverSpeed      = "SMS.9007"   // paused, because the limit was exceeded repeatedly
	CodeUnauthorized   = "APIGW.0301" // signature missing or wrong
	CodeThrottled      = "APIGW.0308" // too many requests
	CodeInvalid        = "FERRY.0400" // a field is missing, of the wrong type or out of range
	CodeNotFound       = "FERRY.0404" // no such task or path
	CodeState          = "FERRY.0409" // not in this state
	CodeTooLarge       = "FERRY.0413" // body too large
	CodeInternal       = "FERRY.0500" // the control plane failed
)

// maxText is the longest string where no field says otherwise, in characters.
const maxText = 255

// maxMessage is the longest error_msg and error_json, in characters.
const maxMessage = 1024

// Error is the body of every answer that is not a success.
type Error struct {
	Code      string `json:"error_code"`
	Message   string `json:"error_msg"`
	RequestID string `json:"request_id,omitempty"`

	Details []ErrorDetail `json:"details,omitempty"` // of status 403, since 2025

	Status int `json:"-"` // HTTP status it is sent with
}

// ErrorDetail is one reason of an Error.
type ErrorDetail struct {
	Code    string `json:"error_code"`
	Message string `json:"error_msg"`
}

// Error returns message and code.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }

// NewError returns an error for an HTTP status. The message is cut to what the API allows.
func NewError(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: trim(fmt.Sprintf(format, args...), maxMessage)}
}

func invalid(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, CodeInvalid, format, args...)
}

// trim cuts s to at most n characters.
func trim(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// TaskName turns any text into a name that the service accepts: letters, digits, '_' and '-', at most 255 characters.
func TaskName(s string) string {
	runes := []rune(s)
	for i, r := range runes {
		if !nameRune(r) {
			runes[i] = '-'
		}
	}
	return string(runes[:min(len(runes), maxText)])
}

func nameRune(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) && r != unicode.ReplacementChar || unicode.IsDigit(r)
}

// CheckTaskName returns an *Error unless TaskName(s) == s.
func CheckTaskName(s string) error {
	if TaskName(s) != s {
		return NewError(http.StatusBadRequest, CodeTaskName, "name %q: only letters, digits, '_' and '-' are allowed", trim(s, 80))
	}
	return nil
}

package resp

import (
	"errors"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Error is what a server answered instead of doing what it was asked.
type Error string

// Error returns the server's words.
func (e Error) Error() string { return "redis: " + string(e) }

// Kind is the first word, in capitals, by which clients tell errors apart: WRONGTYPE, MOVED, ERR.
func (e Error) Kind() string {
	kind, _, _ := strings.Cut(string(e), " ")
	return kind
}

// KindOf returns the kind of the server's error in the chain of err, "" if there is none.
func KindOf(err error) string {
	var e Error
	if errors.As(err, &e) {
		return e.Kind()
	}
	return ""
}

// classify gives a server's error its class.
func classify(err error) error {
	switch KindOf(err) {
	case "":
		return err
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return fault.Operator("FERRY-REDIS-AUTH", "check user and password in the URL, and what the user may do (ACL GETUSER)", err)
	case "LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOMASTERLINK", "NOREPLICAS", "NOGOODSLAVE":
		return fault.Temporary(err)
	}
	if strings.Contains(err.Error(), "AUTH") { // servers before 6.0 say ERR
		return fault.Operator("FERRY-REDIS-AUTH", "check user and password in the URL", err)
	}
	return fault.Permanent(err)
}

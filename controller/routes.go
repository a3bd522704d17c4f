package controller

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Callers say who may call a route.
type Callers uint8

// Who may call. Users are people and their programs, as their role allows. An agent may call what is about itself: the source
// that the path names as {source_id} or {server_id}, or a task of its source, named {task_id}. A machine is an agent that may call what migrations of Redis need. The admin may call everything.
const (
	Users Callers = 1 << iota
	Agents
	Machines
	Anyone Callers = 0
)

// A Route is one operation of the API. The table of all of them is what the server serves, what callers are checked against and
// what /openapi.json is made of.
type Route struct {
	Method string
	Path   string // as http.ServeMux has it, with {task_id} and the like
	Name   string // of the operation, as the vendor's SDK calls it
	Who    Callers

	Query    []string // names of its parameters
	Request  any      // zero value of what smsapi.Decode fills; nil without a body
	Response any      // zero value of the answer; nil for an empty one
	MaxBody  int64    // bytes of a request; more is answered with 413
	Status   int      // of a success; 0 means 200

	// serve answers a request whose signature and caller were checked; see [callerOf]. A nil answer is an empty body, a reply says
	// more than a body. Errors other than *smsapi.Error are told to the log, not to the client.
	serve func(s *Server, r *http.Request, body []byte) (any, error)
}

// dcsPrefix begins the paths of the DCS API; the others are of the SMS API.
const dcsPrefix = "/v2/"

// failure returns the body of a refusal, as the API of the route has it.
func (r Route) failure(e smsapi.Error) any {
	if strings.HasPrefix(r.Path, dcsPrefix) {
		return dcsapi.Refusal{Code: e.Code, Message: e.Message}
	}
	return e
}

// Largest bodies, bytes.
const (
	smallBody = 64 << 10
	largeBody = 8 << 20 // disks and volumes of a server
)

// routes is the table. Each family has its own list, beside its handlers.
var routes = slices.Concat(taskRoutes, identityRoutes, sourceRoutes, projectRoutes, templateRoutes, serviceRoutes, pollRoutes, migrationRoutes)

// handler serves the table, and what is beside the API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.Handle(route.Method+" "+route.Path, s.operation(route))
	}
	s.probes(mux)
	mux.Handle("/", s.operation(Route{Name: "NotServed", Who: Users | Agents, MaxBody: smallBody, serve: notServed}))
	return mux
}

// notServed answers what is not in the table, once the caller is known.
func notServed(_ *Server, r *http.Request, _ []byte) (any, error) {
	return nil, smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "%s %s is not served here", r.Method, r.URL.Path)
}

// Package crashpoint lets a test kill this process at a named point of its own code.
//
// Code that must survive a crash calls Hit right after each write, sync and rename that matters. Outside a test Hit does
// nothing and costs one load. In a test the environment says where to die:
//
//	FERRY_CRASH_AT=journal.sync:3      the third Hit("journal.sync") kills the process, as kill -9 would
//	FERRY_CRASH_TRACE=FILE             every Hit appends its name and a newline to FILE, so a test learns what is reached
//
// It guarantees that no deferred call, no buffered write and no signal handler runs after the point. It does not imitate
// a power cut: what the process wrote without syncing is still in the page cache.
//
// A name is a literal "package.event" in small letters, used at one place only; the test that tries them all reads them
// from the source. An environment that cannot be understood is ignored, so the test sees a process that does not die.
package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// point is what the environment asked for.
type point struct {
	name  string
	at    int64 // 1 is the first Hit of name; 0 means never
	hits  atomic.Int64
	trace *os.File
}

// armed is nil unless a test set the environment.
var armed = parse(os.Getenv("FERRY_CRASH_AT"), os.Getenv("FERRY_CRASH_TRACE"))

func parse(at, trace string) *point {
	p := &point{}
	if name, n, ok := strings.Cut(at, ":"); ok {
		if v, err := strconv.ParseInt(n, 10, 64); err == nil && v > 0 {
			p.name, p.at = name, v
		}
	}
	if trace != "" {
		if f, err := os.OpenFile(trace, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			p.trace = f
		}
	}
	if p.at == 0 && p.trace == nil {
		return nil
	}
	return p
}

// Hit says that the code has reached the point called name. It may be called from any goroutine. It does not return when
// this is the point where the process has to die.
func Hit(name string) {
	if armed != nil {
		armed.hit(name)
	}
}

func (p *point) hit(name string) {
	if p.trace != nil {
		_, _ = p.trace.WriteString(name + "\n") // one write: lines of several processes do not mix. A test misses a lost line
	}
	if p.at == 0 || name != p.name || p.hits.Add(1) != p.at {
		return
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		self.Kill()
		select {} // no line of this process may run any more
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

const module = "github.com/ferry-migrate/ferry"

// results is what a run of tests said. A key is the package below the module, a space and the name of the test.
type results struct {
	packages                map[string]bool
	of                      map[string]string // "pass", "fail" or "skip"
	why                     map[string]string // the last line a skipped test said
	passed, failed, skipped int
}

func newResults() *results {
	return &results{packages: map[string]bool{}, of: map[string]string{}, why: map[string]string{}}
}

// event is one line of `go test -json` (go doc test2json; build events as in go help buildjson).
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64 // seconds
}

// read takes the events of go test until they end. It tells out the output of what failed, and one line per package.
func read(in io.Reader, out io.Writer) (*results, error) {
	res := newResults()
	said := map[string][]string{} // output of what is not over yet, by test, package or build
	for dec := json.NewDecoder(bufio.NewReader(in)); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return res, nil
		} else if err != nil {
			return res, fmt.Errorf("read the events of go test: %w", err)
		}
		pkg := strings.TrimPrefix(e.Package, module+"/")
		key := strings.TrimSpace(pkg + " " + e.Test)
		switch e.Action {
		case "output":
			said[key] = append(said[key], e.Output)
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "pass", "fail", "skip":
			if e.Test != "" {
				res.add(key, e.Action, said[key])
			} else {
				res.end(pkg, &e)
				fmt.Fprintf(out, "%-4s %s  %.1f s\n", e.Action, pkg, e.Elapsed)
			}
			if e.Action == "fail" {
				tell(out, key, said)
			}
			delete(said, key)
		}
	}
}

// tell prints what a failed test said; of a failed package also what its tests said that never came to an end.
func tell(out io.Writer, key string, said map[string][]string) {
	for k, lines := range said {
		if k == key || !strings.Contains(key, " ") && strings.HasPrefix(k, key+" ") {
			fmt.Fprint(out, strings.Join(lines, ""))
		}
	}
}

func (r *results) add(key, action string, said []string) {
	r.of[key] = action
	switch action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
	case "skip":
		r.skipped++
		for _, line := range said {
			// "    file_test.go:12: reason" is what Skip prints.
			if _, reason, ok := strings.Cut(line, ".go:"); ok {
				_, reason, _ = strings.Cut(reason, ": ")
				r.why[key] = strings.TrimSpace(reason)
			}
		}
	}
}

// end notes that a package is over. One that failed without a failed test of its own (it did not build, or a panic or a
// timeout ended it) counts as one failure.
func (r *results) end(pkg string, e *event) {
	r.packages[pkg] = true
	if e.Action != "fail" {
		return
	}
	for key, action := range r.of {
		if action == "fail" && strings.HasPrefix(key, pkg+" ") {
			return
		}
	}
	r.failed++
}

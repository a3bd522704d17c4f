package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// jsonRenderer prints one JSON object per line, and nothing else, on standard output. Progress comes once a second.
type jsonRenderer struct {
	lines *json.Encoder
	notes io.Writer
	every every
}

func newJSONRenderer(stdout, stderr io.Writer) *jsonRenderer {
	lines := json.NewEncoder(stdout)
	lines.SetEscapeHTML(false)
	return &jsonRenderer{lines: lines, notes: stderr, every: every{interval: time.Second, now: time.Now}}
}

func (r *jsonRenderer) Progress(p progressEvent) {
	if r.every.due(&p) {
		p.Event = "progress"
		r.print(p)
	}
}

func (r *jsonRenderer) Pass(p passEvent) {
	p.resultEvent = p.complete("pass")
	r.print(p)
}

func (r *jsonRenderer) Note(text string) { fmt.Fprintln(r.notes, "ferry: "+text) }

func (r *jsonRenderer) Result(e resultEvent) { r.print(e.complete("result")) }

// print writes one line. A reader that went away does not stop a migration.
func (r *jsonRenderer) print(event any) { _ = r.lines.Encode(event) }

// complete returns the event with its name, and with empty lists where a reader expects a list.
func (e resultEvent) complete(event string) resultEvent {
	e.Event = event
	losses := make([]lossEvent, len(e.Losses))
	for i, l := range e.Losses {
		if l.Sample == nil {
			l.Sample = []string{}
		}
		losses[i] = l
	}
	e.Losses = losses
	return e
}

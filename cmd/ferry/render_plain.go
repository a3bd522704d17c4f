package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// plainRenderer prints a line every 5 s and a summary, for logs and pipes.
type plainRenderer struct {
	out   io.Writer
	every every
}

func newPlainRenderer(out io.Writer) *plainRenderer {
	return &plainRenderer{out: out, every: every{interval: 5 * time.Second, now: time.Now}}
}

func (r *plainRenderer) Progress(p progressEvent) {
	if !r.every.due(&p) {
		return
	}
	line := fmt.Sprintf("%s: %s", p.doing(), formatBytes(p.Bytes))
	if p.Total > 0 {
		line = fmt.Sprintf("%s: %d %%, %s of %s", p.doing(), p.Percent, formatBytes(p.Bytes), formatBytes(p.Total))
	}
	line += fmt.Sprintf(", %s files, %s, %.0f %% of the size on the wire", formatCount(p.Files), formatSpeed(p.Mbps), p.CompressRate)
	if p.RemainSeconds != nil {
		line += ", " + formatSeconds(*p.RemainSeconds) + " left"
	}
	fmt.Fprintln(r.out, line)
}

func (r *plainRenderer) Pass(p passEvent) { fmt.Fprintln(r.out, passLine(&p)) }

func (r *plainRenderer) Note(text string) { fmt.Fprintln(r.out, text) }

func (r *plainRenderer) Result(e resultEvent) { fmt.Fprint(r.out, summary(&e)) }

// passLine is one pass of a run with --sync on one line.
func passLine(p *passEvent) string {
	return fmt.Sprintf("pass done: %s files, %s sent in %.1f s; %s changed since (%s), a cutover now would take about %.0f s",
		formatCount(p.Files), formatBytes(p.BytesSent), p.Seconds, formatBytes(p.Backlog), formatSpeed(p.ChurnMbps), p.ForecastSeconds)
}

var passNames = map[string]string{"first": "first copy", "sync": "sync", "resume": "resumed copy"}

// summary tells a person what was moved, how fast, how it was verified, what was lost and what to do next.
func summary(e *resultEvent) string {
	var b strings.Builder
	state := "Done"
	if !e.OK {
		state = "Not done"
	}
	if !e.OK && e.Pass == "" && e.Files == 0 {
		return fmt.Sprintf("%s after %.1f s.\n", state, e.Seconds)
	}
	pass := passNames[e.Pass]
	if pass == "" {
		pass = e.Pass
	}
	if pass != "" { // a verification is none
		pass += " of "
	}
	fmt.Fprintf(&b, "%s: %s%s files, %s in %.1f s (%s).\n", state, pass, formatCount(e.Files), formatBytes(e.Bytes), e.Seconds, formatSpeed(e.Mbps))
	fmt.Fprintf(&b, "Read %s, sent %s (%.0f %% of the size after compression)", formatBytes(e.BytesRead), formatBytes(e.BytesSent), e.CompressRate)
	if e.BytesSaved > 0 {
		fmt.Fprintf(&b, "; %s were on the target already", formatBytes(e.BytesSaved))
	}
	b.WriteString(".\n")
	switch {
	case e.Differences > 0:
		fmt.Fprintf(&b, "Verified (%s): %s differences FOUND.\n", e.Verified, formatCount(e.Differences))
	case e.Verified == "none" || e.Verified == "":
		b.WriteString("Not verified.\n")
	default:
		fmt.Fprintf(&b, "Verified (%s): no difference.\n", e.Verified)
	}
	for _, l := range e.Losses {
		summarizeLoss(&b, &l)
	}
	for _, note := range e.Notes {
		fmt.Fprintf(&b, "Note: %s\n", note)
	}
	for _, next := range e.Next {
		fmt.Fprintf(&b, "Next: %s\n", next)
	}
	return b.String()
}

func summarizeLoss(b *strings.Builder, l *lossEvent) {
	fmt.Fprintf(b, "Not kept: %s, %s times", l.Kind, formatCount(l.Count))
	for i, path := range l.Sample {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + printable(path))
	}
	if int64(len(l.Sample)) < l.Count && len(l.Sample) > 0 {
		b.WriteString(" …")
	}
	b.WriteByte('\n')
	if l.Remedy != "" {
		fmt.Fprintf(b, "  %s\n", l.Remedy)
	}
}

package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// terminalRenderer draws a bar for each phase, fitting 80 columns, and prints the summary below them.
type terminalRenderer struct {
	out   io.Writer
	style mpb.BarStyleComposer
	opts  []mpb.ContainerOption
	bars  *mpb.Progress // nil while nothing is drawn
	phase *phaseBar
}

// phaseBar is the bar of the phase that runs. The drawing goroutine reads text, the caller writes it.
type phaseBar struct {
	bar  *mpb.Bar
	work string
	mu   sync.Mutex
	text string
}

func newTerminalRenderer(out io.Writer, colour bool, opts ...mpb.ContainerOption) *terminalRenderer {
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	if colour {
		green := func(s string) string { return "\x1b[32m" + s + "\x1b[0m" }
		style = style.FillerMeta(green).TipMeta(green)
	}
	opts = append([]mpb.ContainerOption{mpb.WithOutput(out), mpb.WithRefreshRate(150 * time.Millisecond)}, opts...)
	return &terminalRenderer{out: out, style: style, opts: opts}
}

func (r *terminalRenderer) Progress(p progressEvent) {
	work := p.Subtask + "/" + p.Phase
	if r.phase == nil || r.phase.work != work {
		r.finish(true)
		r.begin(work, p.doing())
	}
	r.phase.mu.Lock()
	r.phase.text = barText(&p)
	r.phase.mu.Unlock()
	// The bar itself counts in hundredths of a percent; the bytes of a plan grow while it runs.
	done := int64(p.Percent) * 100
	if p.Total > 0 {
		done = min(int64(float64(p.Bytes)/float64(p.Total)*10_000), 9_999)
	}
	r.phase.bar.SetCurrent(done)
}

// barText is all the figures behind the bar, at most 50 columns.
func barText(p *progressEvent) string {
	size := formatBytes(p.Bytes)
	percent := "  -%"
	if p.Total > 0 {
		size += "/" + formatBytes(p.Total)
		percent = fmt.Sprintf("%3d%%", p.Percent)
	}
	left := ""
	if p.RemainSeconds != nil {
		left = " " + formatSeconds(*p.RemainSeconds)
	}
	return fmt.Sprintf(" %s %s %sf %s %.0f%%%s", percent, size, shortCount(p.Files), formatSpeed(p.Mbps), p.CompressRate, left)
}

// shortCount writes a count in at most five columns.
func shortCount(n int64) string {
	switch {
	case n < 100_000:
		return fmt.Sprint(n)
	case n < 10_000_000:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprintf("%dM", n/1_000_000)
	}
}

func (r *terminalRenderer) begin(work, name string) {
	if r.bars == nil {
		r.bars = mpb.New(r.opts...)
	}
	phase := &phaseBar{work: work}
	if len(name) > 11 {
		name = name[:11]
	}
	phase.bar = r.bars.New(10_000, r.style,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-11s ", name))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			phase.mu.Lock()
			defer phase.mu.Unlock()
			return phase.text
		})),
	)
	r.phase = phase
}

// finish ends the running bar: filled if its work is done, else as it stands.
func (r *terminalRenderer) finish(done bool) {
	if r.phase == nil {
		return
	}
	if done {
		r.phase.bar.SetCurrent(10_000)
	} else {
		r.phase.bar.Abort(false)
	}
	r.phase.bar.Wait()
	r.phase = nil
}

func (r *terminalRenderer) Pass(p passEvent) {
	r.finish(true)
	r.rest()
	fmt.Fprintln(r.out, passLine(&p))
}

// Note prints above the bars.
func (r *terminalRenderer) Note(text string) {
	if r.bars != nil {
		fmt.Fprintln(r.bars, text)
		return
	}
	fmt.Fprintln(r.out, text)
}

func (r *terminalRenderer) Result(e resultEvent) {
	r.finish(e.OK)
	r.rest()
	fmt.Fprint(r.out, summary(&e))
}

// rest leaves the bars as they are and ends the goroutine that draws them.
func (r *terminalRenderer) rest() {
	if r.bars != nil {
		r.bars.Wait()
		r.bars = nil
	}
}

package collector

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Event is one difference between two inventories.
type Event struct {
	What   string `json:"what"`   // disk, partition, volume group, volume, filesystem, mount
	Name   string `json:"name"`   // device or mount point
	Change string `json:"change"` // added, removed, grown, shrunk, changed
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Change is what happened to disks, volumes and mounts in one quiet period, and how things stand now.
type Change struct {
	At     time.Time         `json:"at"`
	Events []Event           `json:"events"`
	Now    *inventory.Server `json:"-"`
}

// WatchOptions say how to watch. The zero value watches this machine.
type WatchOptions struct {
	Options
	// Before is what changes are measured against, such as what was last reported; nil is how things stand when the watching begins.
	Before *inventory.Server
	// Quiet is how long nothing may happen before it is looked: making a partition is a burst of events. 0 is one second.
	Quiet time.Duration
	// Interval bounds how long a change that causes no event stays unseen. 0 is two hours.
	Interval time.Duration

	collect func(context.Context) *inventory.Server // tests
	events  func(context.Context) <-chan struct{}
}

// Watch reports changes of disks, volumes, filesystems and mounts until ctx ends, when it closes the channel. How full
// filesystems are is no change. A reader that is slow gets the changes of its absence in one.
func Watch(ctx context.Context, o WatchOptions) <-chan Change {
	if o.Quiet == 0 {
		o.Quiet = time.Second
	}
	if o.Interval == 0 {
		o.Interval = 2 * time.Hour
	}
	if o.collect == nil {
		o.collect = func(ctx context.Context) *inventory.Server { return Collect(ctx, o.Options) }
	}
	if o.events == nil {
		o.events = storageEvents
	}
	out := make(chan Change)
	go func() {
		defer close(out)
		o.watch(ctx, out)
	}()
	return out
}

func (o WatchOptions) watch(ctx context.Context, out chan<- Change) {
	events := o.events(ctx) // before the first look, so that nothing falls between
	before, look := o.Before, o.Before != nil
	if before == nil {
		before = o.collect(ctx)
	}
	for ; look || o.wait(ctx, events); look = false {
		now := o.collect(ctx)
		if ctx.Err() != nil {
			return
		}
		list := Diff(before, now)
		if len(list) == 0 {
			continue
		}
		select {
		case out <- Change{At: now.Collected, Events: list, Now: now}:
			before = now
		case <-ctx.Done():
			return
		}
	}
}

// wait returns true when it is time to look: after an event and the quiet that follows it, or after the interval. A host where
// something happens all the time, as one with many containers, is looked at every ten quiet periods.
func (o WatchOptions) wait(ctx context.Context, events <-chan struct{}) bool {
	timer := time.NewTimer(o.Interval)
	defer timer.Stop()
	var limit time.Time
	for {
		select {
		case _, open := <-events:
			if !open {
				events = nil
				continue
			}
			if limit.IsZero() {
				limit = time.Now().Add(10 * o.Quiet)
			}
			timer.Reset(min(o.Quiet, time.Until(limit)))
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// Diff lists what changed between two inventories, in a stable order.
func Diff(before, now *inventory.Server) []Event {
	old, cur := things(before), things(now)
	out := []Event{}
	for k, a := range old {
		b, ok := cur[k]
		switch {
		case !ok:
			out = append(out, Event{What: k.what, Name: k.name, Change: "removed", From: a.String()})
		case a.size < b.size:
			out = append(out, Event{k.what, k.name, "grown", size(a.size), size(b.size)})
		case a.size > b.size:
			out = append(out, Event{k.what, k.name, "shrunk", size(a.size), size(b.size)})
		case a != b:
			out = append(out, Event{k.what, k.name, "changed", a.detail, b.detail})
		}
	}
	for k, b := range cur {
		if _, ok := old[k]; !ok {
			out = append(out, Event{What: k.what, Name: k.name, Change: "added", To: b.String()})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return a.What+"\x00"+a.Name < b.What+"\x00"+b.Name
	})
	return out
}

type thing struct{ what, name string }

type state struct {
	size   int64
	detail string
}

func (s state) String() string { return strings.TrimSpace(size(s.size) + " " + s.detail) }

// things flattens what matters to a migration's plan.
func things(s *inventory.Server) map[thing]state {
	out := map[thing]state{}
	content := func(name string, c *inventory.Content) {
		if c != nil {
			out[thing{"filesystem", name}] = state{c.Size, strings.TrimSpace(c.Type + " " + c.UUID + " " + c.Label)}
		}
	}
	for _, k := range s.Disks {
		table := ""
		if k.Table != nil {
			table = string(k.Table.Style) + " " + k.Table.ID
		}
		out[thing{"disk", k.Name}] = state{k.Size, strings.TrimSpace(string(k.Kind) + " " + table)}
		content(k.Name, k.Content)
		for _, p := range k.Partitions {
			out[thing{"partition", p.Name}] = state{p.Size, fmt.Sprintf("at %d, type %s", p.Start, p.Type)}
			content(p.Name, p.Content)
		}
	}
	for _, vg := range s.VolumeGroups {
		var devices []string
		for _, pv := range vg.Physical {
			devices = append(devices, pv.Device)
		}
		out[thing{"volume group", vg.Name}] = state{vg.Size, strings.Join(devices, " ")}
		for _, lv := range vg.Logical {
			if !lv.Internal {
				out[thing{"volume", vg.Name + "/" + lv.Name}] = state{lv.Size, lv.Kind}
				content(lv.Device, lv.Content)
			}
		}
	}
	for _, m := range s.Mounts {
		if m.Kind != "pseudo" {
			out[thing{"mount", m.Path}] = state{0, m.Source + " " + m.Type}
		}
	}
	return out
}

// WriteChange prints a change for a person, one line for each event.
func WriteChange(w io.Writer, c Change) error {
	var b strings.Builder
	for _, e := range c.Events {
		fmt.Fprintf(&b, "%s  %s %s %s", c.At.Format(time.RFC3339), e.What, e.Name, e.Change)
		switch {
		case e.From != "" && e.To != "":
			fmt.Fprintf(&b, ": %s → %s", e.From, e.To)
		case e.From+e.To != "":
			fmt.Fprintf(&b, ": %s", e.From+e.To)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

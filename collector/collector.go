// Package collector finds out what is on a server: disks, volumes, filesystems, network, operating system.
//
// It reads and changes nothing: no device is opened for writing, no lock is taken, no program is started that could do
// either. Each collector fills its own part of the inventory and runs beside the others with a limit on its time. One that
// fails or hangs costs its own part, and the inventory says what is missing and why; so does a run without privileges.
//
// Collectors decide nothing. What the facts mean for a migration is said by Preflight, and by the agent's plan.
//
// Every operating system provides, in files with its suffix: collectors, the list of what there is to collect; and for
// images the probing in package probe is all that is used, so `ferry discover --image` works the same everywhere.
package collector

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Fill writes what a collector found into the inventory. It is called by one goroutine at a time.
type Fill func(*inventory.Server)

// Collector finds one part of the inventory.
//
// Collect gathers into variables of its own and returns how to fill them in: so one that hangs in a system call past its
// time cannot write into an inventory that was handed out. It may return both a Fill and an error: the error then says what
// of its part is missing. It must end soon after ctx does where the system lets it.
type Collector interface {
	Name() string
	Collect(ctx context.Context) (Fill, error)
}

// Options say where and how thoroughly to look. The zero value looks at this machine.
type Options struct {
	// Root is the directory that holds proc, sys, dev and etc; "" is "/". Another one holds a captured system.
	Root string
	// Timeout bounds each collector; 0 is 20 seconds.
	Timeout time.Duration
	// Thorough also looks where it takes longer: into the initramfs for drivers.
	Thorough bool
}

// Collect runs every collector of this operating system and returns what was found. It always returns an inventory; what
// could not be found is in its Missing.
func Collect(ctx context.Context, o Options) *inventory.Server {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	return run(ctx, o.Timeout, collectors(o))
}

// run starts all collectors, and fills in their results in the order of the list. A collector whose time is over gets a quarter of it
// more to hand in what it has: one dead device among a hundred must not cost the hundred.
func run(ctx context.Context, timeout time.Duration, list []Collector) *inventory.Server {
	ctx, cancel := context.WithTimeout(ctx, timeout+timeout/4)
	defer cancel()
	working, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	type result struct {
		fill Fill
		err  error
	}
	results := make([]chan result, len(list))
	for i, c := range list {
		done := make(chan result, 1) // with room, so that a late collector can end
		results[i] = done
		go func() {
			fill, err := c.Collect(working)
			done <- result{fill, err}
		}()
	}
	s := blank()
	for i, c := range list {
		var r result
		select {
		case r = <-results[i]:
		case <-ctx.Done():
			select {
			case r = <-results[i]:
			default:
				r.err = fmt.Errorf("not finished after %v: %w", timeout, context.Cause(ctx))
			}
		}
		if r.fill != nil {
			r.fill(s)
		}
		if r.err != nil {
			s.Failed(c.Name(), "", r.err)
		}
	}
	link(s)
	return s
}

// blank is an inventory whose lists are empty, not null.
func blank() *inventory.Server {
	return &inventory.Server{
		Schema: inventory.SchemaVersion, Collected: time.Now().UTC().Truncate(time.Second),
		OS:   inventory.OS{Like: []string{}},
		Boot: inventory.Boot{Virtio: inventory.Virtio{Ready: []string{}, Loadable: []string{}, Absent: []string{}}},
		NICs: []inventory.NIC{}, Routes: []inventory.Route{}, DNS: inventory.DNS{Servers: []string{}, Search: []string{}},
		Disks: []inventory.Disk{}, VolumeGroups: []inventory.VolumeGroup{}, Btrfs: []inventory.Btrfs{}, Mounts: []inventory.Mount{},
		Swaps: []inventory.Swap{}, Fstab: []inventory.FstabEntry{}, Crypttab: []inventory.CrypttabEntry{},
		Tools: []inventory.Tool{}, Databases: []string{}, Missing: []inventory.Missing{},
	}
}

// part is a collector made of a function.
type part struct {
	name    string
	collect func(context.Context) (Fill, error)
}

// Name returns the name of the part.
func (p part) Name() string { return p.name }

// Collect calls the function.
func (p part) Collect(ctx context.Context) (Fill, error) { return p.collect(ctx) }

// patiently runs f, which may hang in a system call, and gives up on it when ctx ends. An f that is given up on goes on in
// its own goroutine until the system lets it return; what it returns is dropped.
func patiently[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("does not answer: %w", ctx.Err())
	}
}

// inParallel calls f for 0 to n-1 with at most width calls at a time, and waits for all.
func inParallel(n, width int, f func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, width) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				f(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

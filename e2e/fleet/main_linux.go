// Fleet measures a control plane under a whole fleet of agents, and prints what it did as Markdown.
//
//	go run ./e2e/fleet [-sources N] [-tasks N] [-for D] [-store ADDRESS] [-controllers N]
//
// It starts bin/ferry as it is served to users, registers the sources, makes and starts the tasks, and then has every source poll its
// command every 30 s and every task report its progress every 5 s, each source over a connection of its own, from one key. Requests
// are sent when their time has come, whether or not those before were answered, and a latency counts from that time: a slow answer
// hides no others. A request that is not answered with 200 is lost. The load comes from the same machine and takes a part of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How often agents call, as the agent does by default.
const (
	pollEvery   = 30 * time.Second
	reportEvery = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	f := fleet{}
	flag.StringVar(&f.binary, "ferry", "bin/ferry", "the `binary` to measure")
	flag.IntVar(&f.sources, "sources", 10_000, "`number` of registered sources that poll")
	flag.IntVar(&f.tasks, "tasks", 2_000, "`number` of them with a running task")
	flag.DurationVar(&f.length, "for", time.Minute, "`time` to measure")
	flag.StringVar(&f.store, "store", "", "postgres://… instead of a new SQLite file")
	flag.IntVar(&f.controllers, "controllers", 1, "`number` of controllers on that store")
	flag.Parse()
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		stop()
		os.Exit(1)
	}
}

type fleet struct {
	binary, store               string
	sources, tasks, controllers int
	length                      time.Duration

	lost      atomic.Int64
	mu        sync.Mutex
	latencies map[string][]time.Duration // by operation
}

func (f *fleet) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var planes []*plane
	defer func() {
		for _, p := range planes {
			p.stop()
		}
	}()
	for i := range f.controllers {
		p, err := startPlane(ctx, f.binary, dir, f.store, i)
		if err != nil {
			return err
		}
		planes = append(planes, p)
	}
	began := time.Now()
	agents, err := f.enrol(ctx, planes)
	if err != nil {
		return err
	}
	fmt.Printf("%d sources registered, %d tasks started in %s\n\n", f.sources, f.tasks, time.Since(began).Round(time.Second))
	f.latencies = map[string][]time.Duration{}
	f.measure(ctx, agents)
	return f.print(planes)
}

// enrol registers the sources and starts the tasks, a few at a time.
func (f *fleet) enrol(ctx context.Context, planes []*plane) ([]*agent, error) {
	agents := make([]*agent, f.sources)
	errs := make(chan error, 1)
	var next atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < f.sources && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				agents[i] = &agent{plane: planes[i%len(planes)], number: i}
				if err := agents[i].enrol(ctx, i < f.tasks); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return nil, fmt.Errorf("enrol: %w", err)
	default:
		return agents, ctx.Err()
	}
}

// measure has all agents call, each from a moment of its own on, until the time is over.
func (f *fleet) measure(ctx context.Context, agents []*agent) {
	ctx, cancel := context.WithTimeout(ctx, f.length)
	defer cancel()
	var group sync.WaitGroup
	for i, a := range agents {
		group.Go(func() { f.every(ctx, a, "poll", pollEvery, i, len(agents)) })
		if a.task != "" {
			group.Go(func() { f.every(ctx, a, "report", reportEvery, i, f.tasks) })
		}
	}
	group.Wait()
}

// every calls an operation of agent i of n at its times.
func (f *fleet) every(ctx context.Context, a *agent, operation string, period time.Duration, i, n int) {
	due := time.Now().Add(period * time.Duration(i) / time.Duration(n))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := a.call(operation); err != nil {
			if f.lost.Add(1) == 1 {
				fmt.Fprintln(os.Stderr, "lost:", err)
			}
		} else {
			took := time.Since(due)
			f.mu.Lock()
			f.latencies[operation] = append(f.latencies[operation], took)
			f.mu.Unlock()
		}
		due = due.Add(period)
		timer.Reset(time.Until(due))
	}
}

// print shows what was measured.
func (f *fleet) print(planes []*plane) error {
	fmt.Println("| operation | answered | a second | p50 | p99 | max |")
	fmt.Println("|---|--:|--:|--:|--:|--:|")
	for _, operation := range []string{"poll", "report"} {
		took := f.latencies[operation]
		if len(took) == 0 {
			continue
		}
		slices.Sort(took)
		at := func(part float64) time.Duration {
			return took[min(int(part*float64(len(took))), len(took)-1)].Round(100 * time.Microsecond)
		}
		fmt.Printf("| %s | %d | %.0f | %s | %s | %s |\n", operation, len(took), float64(len(took))/f.length.Seconds(), at(.5), at(.99), at(1))
	}
	fmt.Printf("\nlost: %d\n", f.lost.Load())
	for i, p := range planes {
		peak, err := p.peak()
		if err != nil {
			return err
		}
		fmt.Printf("controller %d: at most %d MiB of memory, %s of processor\n", i+1, peak>>20, p.processor())
	}
	if f.lost.Load() > 0 {
		return fmt.Errorf("%d requests were lost", f.lost.Load())
	}
	return nil
}

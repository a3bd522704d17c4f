// Bench runs Ferry and its peers on the same data, in turn, and prints what it cost each of them as Markdown.
//
//	go run ./e2e/bench [-n RUNS] [-loads LIST] [-list] [-source TYPE]
//
// # What is measured
//
// Each run has a network namespace of its own, with nothing in it but loopback, a server and a client. The time is the
// client's, from its start until it ended (for tar, until the receiving tar ended too). CPU is user and system time of all
// processes of the run, servers included: the runner adopts orphans (PR_SET_CHILD_SUBREAPER), waits for every process and
// takes its own RUSAGE_CHILDREN. Bytes on the wire are what loopback received, headers and acknowledgements included. Memory
// is the sum of VmHWM over the processes of a side, looked at every 50 ms.
//
// Sources lie on a new loop-mounted ext4 with a warm page cache; targets on a new tmpfs, or on a new ext4 where the load says
// so, made again before each run that starts from nothing. Memory is touched and the source
// read before each run, outside of the time. All runs of a load take turns: A B A B.
//
// Loads: T1 is 100,000 files of 1 to 16 KiB, T3 is 8 files of 512 MiB of which a third are holes, a third text, a third
// noise. Contents are the same on every machine. Once per load the copy that Ferry made is compared with the source by
// rsync --checksum, outside of the time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == runWord {
		if err := runInside(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	n := flag.Int("n", 3, "`runs` of each contestant")
	pick := flag.String("loads", "", "comma-separated `names` of loads (default all)")
	list := flag.Bool("list", false, "list the loads and stop")
	source := flag.String("source", "ext4", "filesystem `type` of the sources")
	ferry := flag.String("ferry", "bin/ferry", "the `binary` to measure")
	scale := flag.Int("scale", 1, "divide the data by this, to try the benchmark itself")
	flag.Parse()
	if *list {
		for _, l := range loads {
			fmt.Printf("%-12s %s\n", l.name, l.title)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it mounts filesystems and makes network namespaces")
	}
	b, err := newLab(*ferry, *source, *scale)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Printf("%d runs each, %d cores, %s, sources on %s. Medians (lowest to highest); ratios are of medians.\n", *n, runtime.NumCPU(), kernel(), *source)
	missed := 0
	for _, l := range loads {
		if *pick != "" && !slices.Contains(strings.Split(*pick, ","), l.name) {
			continue
		}
		rows, err := b.run(&l, *n)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		missed += print(&l, rows)
	}
	if missed > 0 {
		fmt.Printf("\n%d figures miss their goal.\n", missed)
	}
	return nil
}

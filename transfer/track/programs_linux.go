package track

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// mostFlying bounds the requests in flight of one device; each takes about 80 bytes. More are a doubt.
const mostFlying = 32 << 10

// Names of the pins.
const (
	marksPin  = "marks"
	flyingPin = "flying"
	beginPin  = "begin"
	endPin    = "end"
)

// programs are the two that mark, and what they share with this process. They are the witness of a Kernel.
type programs struct {
	*device
	marks, flying *ebpf.Map
	links         [2]link.Link
	programs      [2]*ebpf.Program
	memory        []byte            // the mapped marks
	opened        string            // identity of the device then
	past          counts            // what is forgiven
	flown         map[uint64]flight // in flight at the last Take
}

// loadPrograms loads both into the kernel and lets them run.
func loadPrograms(d *device) (p *programs, err error) {
	// Kernels before 5.11 count the memory of maps against this limit.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	p = &programs{device: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
			p, err = nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}()
	if err := d.watch(); err != nil {
		return p, err
	}
	s, err := readShape()
	if err != nil {
		return p, err
	}
	if p.marks, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ferry_marks", Type: ebpf.Array, KeySize: 4, ValueSize: page,
		MaxEntries: uint32(d.pages()), Flags: unix.BPF_F_MMAPABLE}); err != nil {
		return p, err
	}
	if p.flying, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ferry_flying", Type: ebpf.Hash, KeySize: 8, ValueSize: 24,
		MaxEntries: mostFlying}); err != nil {
		return p, err
	}
	for i, e := range events[d.kind] {
		a := assembler{shape: s, span: d.span, event: e, marks: p.marks, flying: p.flying, since: monotonic()}
		spec, err := a.program()
		if err != nil {
			return p, err
		}
		if p.programs[i], err = ebpf.NewProgram(spec); err != nil {
			return p, fmt.Errorf("%s: %w", a.tracepoint, err)
		}
		if p.links[i], err = link.AttachTracing(link.TracingOptions{Program: p.programs[i], AttachType: ebpf.AttachTraceRawTp}); err != nil {
			return p, fmt.Errorf("%s: %w", a.tracepoint, err)
		}
	}
	return p, p.view()
}

// monotonic returns the clock that requests are stamped with, in nanoseconds.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return math.MaxInt64
	}
	return now.Nano()
}

// resume finds the programs that were pinned. The error says why there are not those of that generation.
func resume(pins string, d *device, generation string) (p *programs, err error) {
	p = &programs{device: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
			p, err = nil, fmt.Errorf("the tracker of %s did not go on: %w", generation, err)
		}
	}()
	if pins == "" {
		return p, errors.New("it had no pins")
	}
	if err := d.watch(); err != nil {
		return p, err
	}
	if p.marks, err = ebpf.LoadPinnedMap(filepath.Join(pins, marksPin), nil); err != nil {
		return p, err
	}
	if p.flying, err = ebpf.LoadPinnedMap(filepath.Join(pins, flyingPin), nil); err != nil {
		return p, err
	}
	for i, name := range []string{beginPin, endPin} {
		if p.links[i], err = link.LoadPinnedLink(filepath.Join(pins, name), nil); err != nil {
			return p, err
		}
		info, err := p.links[i].Info()
		if err != nil {
			return p, err
		}
		if p.programs[i], err = ebpf.NewProgramFromID(info.Program); err != nil {
			return p, err
		}
	}
	now, err := p.generation()
	if err != nil {
		return p, err
	}
	if now != generation {
		return p, fmt.Errorf("found %s", now)
	}
	return p, p.view()
}

// view maps the marks.
func (p *programs) view() (err error) {
	if p.marks.ValueSize() != page || int64(p.marks.MaxEntries()) != p.pages() {
		return fmt.Errorf("%d pages of %d marks, not %d of %d", p.marks.MaxEntries(), p.marks.ValueSize(), p.pages(), page)
	}
	size := int(p.pages()*page) + os.Getpagesize() - 1
	if p.memory, err = unix.Mmap(p.marks.FD(), 0, size/os.Getpagesize()*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map marks: %w", err)
	}
	p.opened = p.identity()
	return nil
}

// pin makes the kernel keep everything when this process ends.
func (p *programs) pin(dir string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, unpin(dir))
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Links last: without them there is nothing to go on with.
	for _, pin := range []struct {
		name string
		to   interface{ Pin(name string) error }
	}{{marksPin, p.marks}, {flyingPin, p.flying}, {endPin, p.links[1]}, {beginPin, p.links[0]}} {
		if err := pin.to.Pin(filepath.Join(dir, pin.name)); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
	}
	return nil
}

// generation names this run of the kernel, the device, and the programs with their maps. The same name later means that they ran all
// the time: ids are not given twice.
func (p *programs) generation() (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	text := []string{"boot " + boot, p.identity()}
	for _, m := range []*ebpf.Map{p.marks, p.flying} {
		info, err := m.Info()
		if err != nil {
			return "", err
		}
		id, _ := info.ID()
		text = append(text, fmt.Sprintf("map %d", id))
	}
	for _, l := range p.links {
		info, err := l.Info()
		if err != nil {
			return "", err
		}
		text = append(text, fmt.Sprintf("link %d program %d", info.ID, info.Program))
	}
	return strings.Join(text, ", "), nil
}

// counted asks the kernel how often it skipped the program that sees writes begin, and what both cost. A skipped end does no harm:
// see markFlying.
func (p *programs) counted() (c counts, cost ebpf.ProgramStats, err error) {
	for i, program := range p.programs {
		s, err := program.Stats()
		if err != nil {
			return c, cost, fmt.Errorf("statistics of the tracker: %w", err)
		}
		if i == 0 {
			c.Misses = s.RecursionMisses
		}
		cost.RunCount += s.RunCount
		cost.Runtime += s.Runtime
	}
	doubts := p.doubts()
	c.Reach, c.Room, c.Unseen = doubts[reachUnknown], doubts[noRoom], doubts[beginUnseen]
	return c, cost, nil
}

func (p *programs) close() error {
	var errs []error
	if p.memory != nil {
		errs = append(errs, unix.Munmap(p.memory))
		p.memory = nil
	}
	for i := range p.links {
		if p.links[i] != nil {
			errs = append(errs, p.links[i].Close())
		}
		errs = append(errs, p.programs[i].Close())
	}
	errs = append(errs, p.flying.Close(), p.marks.Close())
	p.unwatch()
	return errors.Join(errs...)
}

package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// FreezerCommand is the hidden subcommand whose body is Freezer; the number of filesystems is its argument.
const FreezerCommand = "freezer"

const (
	readyWithin = 20 * time.Second // for the freezer to start
	exitWithin  = time.Second      // for it to end, unless the kernel holds it in FIFREEZE
)

// Group is a set of filesystems that freeze together, and the freezer that does it. Do may be called again and again; Close must be
// called. While it is open the filesystems cannot be unmounted. Its methods may be called from any goroutine, and wait for each other.
type Group struct {
	o      Options
	mounts []*mounted // in the order they freeze
	conn   *net.UnixConn
	pid    int           // of the freezer
	news   chan news     // closed once the freezer is gone and what it left is thawed
	exited chan struct{} // closed once it is waited for

	do    sync.Mutex
	round int

	mu    sync.Mutex
	begun []bool // FIFREEZE was called and nothing since says that it did not succeed, or was undone
}

// Open opens the filesystems and starts their freezer. Operator errors: a path of Writes lies on a filesystem that would be frozen, or
// this process may not freeze.
func Open(ctx context.Context, o Options) (g *Group, err error) {
	if o.Bound == 0 {
		o.Bound = Bound
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g = &Group{o: o}
	defer func() {
		if err != nil {
			g.Close()
			g = nil
		}
	}()
	if g.mounts, err = openMounts(o.Mounts); err != nil {
		return g, err
	}
	for _, path := range o.Writes {
		if err := g.apart(path); err != nil {
			return g, err
		}
	}
	if err := g.start(); err != nil {
		return g, err
	}
	select {
	case n, alive := <-g.news:
		return g, g.welcome(n, alive)
	case <-time.After(readyWithin):
		return g, fault.Temporary(fmt.Errorf("the freezer was not ready after %v", readyWithin))
	case <-ctx.Done():
		return g, context.Cause(ctx)
	}
}

// apart returns an operator error if path lies on a filesystem of the group.
func (g *Group) apart(path string) error {
	on, err := filesystemOf(path)
	if err != nil {
		return err
	}
	for _, m := range g.mounts {
		if m.number == on {
			return fault.Operator("FERRY-FREEZE-OWN", "put it on another filesystem (--state, --to, a redirected output), or take a snapshot instead of a freeze",
				fmt.Errorf("%s has to be written while %s is frozen, and lies on it", path, m.path))
		}
	}
	return nil
}

// start starts the freezer.
func (g *Group) start() error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket of the freezer: %w", err)
	}
	far := os.NewFile(uintptr(ends[1]), "freezer")
	defer far.Close()
	if g.conn, err = socketConn(os.NewFile(uintptr(ends[0]), "agent")); err != nil {
		return err
	}
	files := []*os.File{far}
	for _, m := range g.mounts {
		files = append(files, m.file)
	}
	process, err := command.Self(g.o.Log, files, FreezerCommand, strconv.Itoa(len(g.mounts)))
	if err != nil {
		return fmt.Errorf("freezer: %w", err)
	}
	g.pid = process.Pid
	g.begun, g.news, g.exited = make([]bool, len(g.mounts)), make(chan news, 8+4*len(g.mounts)), make(chan struct{})
	go func() {
		defer close(g.exited)
		_, _ = process.Wait()
	}()
	go g.listen(g.conn)
	return nil
}

// welcome judges what the freezer says first.
func (g *Group) welcome(n news, alive bool) error {
	switch {
	case !alive || n.What != newsReady:
		return fault.Temporary(errors.New("the freezer ended before it was ready"))
	case n.Errno != 0:
		return fault.Operator("FERRY-FREEZE-RIGHTS", "run as root, with CAP_SYS_ADMIN", fmt.Errorf("filesystems cannot be frozen: %w", unix.Errno(n.Errno)))
	case n.Shared:
		g.o.Log.Warn("the freezer shares this process's control group: do not kill the whole group while something is frozen")
	}
	return nil
}

// listen takes in what the freezer says. Once it is gone, what it may have left frozen is thawed.
func (g *Group) listen(conn *net.UnixConn) {
	defer close(g.news)
	buf := make([]byte, packetBytes)
	for {
		k, err := conn.Read(buf)
		var n news
		if err != nil || k == 0 || json.Unmarshal(buf[:k], &n) != nil || n.FS < 0 || n.FS >= len(g.mounts) {
			break
		}
		g.note(n)
		g.news <- n
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.begun) - 1; i >= 0; i-- {
		if g.begun[i] {
			thaw(int(g.mounts[i].file.Fd()))
			g.begun[i] = false
		}
	}
}

func (g *Group) note(n news) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch n.What {
	case newsFreezing:
		g.begun[n.FS] = true
	case newsRefused:
		g.begun[n.FS] = false
	case newsThawed:
		clear(g.begun)
	}
}

// Do syncs and freezes all filesystems, runs critical, and thaws them. It returns critical's error, a temporary one that is ErrThawed if
// they did not stay frozen all the while (critical's context then ends), or an operator error if one could not be frozen; then, and when
// ctx ends, all are thawed at once, whatever critical does. While they are frozen critical must not write to them, nor wait for what does.
func (g *Group) Do(ctx context.Context, critical func(context.Context) error) (Report, error) {
	g.do.Lock()
	defer g.do.Unlock()
	if g.conn == nil {
		return Report{}, net.ErrClosed
	}
	for _, m := range g.mounts {
		if err := unix.Syncfs(int(m.file.Fd())); err != nil {
			return Report{}, fmt.Errorf("sync %s: %w", m.path, err)
		}
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
	}
	lockMemory()
	defer unix.Munlockall() //nolint:errcheck // it cannot fail
	g.round++
	if err := g.say(order{Round: g.round, Bound: g.o.Bound}); err != nil {
		return Report{}, err
	}
	loose, end, err := g.settle(ctx)
	if err != nil {
		_, _ = g.thaw(end) // why is known
		return Report{}, err
	}
	return g.frozen(ctx, loose, critical)
}

// frozen runs critical while all that can be is frozen.
func (g *Group) frozen(ctx context.Context, loose map[int]bool, critical func(context.Context) error) (Report, error) {
	inside, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over, ended := make(chan struct{}), make(chan struct{})
	var end news
	var early error
	go func() {
		defer close(ended)
		select {
		case <-over:
			end, early = g.thaw(nil)
		case <-ctx.Done():
			end, early = g.thaw(nil)
		case n, alive := <-g.news:
			if alive {
				end, early = g.thaw(&n)
			} else {
				early = errFreezerGone
			}
			cancel(early)
		}
	}()
	err := critical(inside)
	close(over)
	<-ended
	r := g.report(end, loose)
	if early != nil { // whatever critical says of it
		return r, early
	}
	if err == nil && ctx.Err() != nil { // thawed for that, maybe before critical was done
		err = context.Cause(ctx)
	}
	return r, err
}

// settle waits until everything is frozen. loose are those that cannot be. With an error, end is the news that all are thawed, if it came.
func (g *Group) settle(ctx context.Context) (loose map[int]bool, end *news, err error) {
	loose = map[int]bool{}
	for {
		select {
		case n, alive := <-g.news:
			switch {
			case !alive:
				return nil, nil, errFreezerGone
			case n.Round != g.round: // what came after the end of another round
			case n.What == newsSettled:
				return loose, nil, nil
			case n.What == newsRefused && unix.Errno(n.Errno) == unix.EOPNOTSUPP:
				loose[n.FS] = true
			case n.What == newsRefused:
				return nil, nil, refusal(g.mounts[n.FS].path, unix.Errno(n.Errno))
			case n.What == newsThawed:
				return nil, &n, g.tooLong()
			}
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

func refusal(mount string, errno unix.Errno) error {
	err := fmt.Errorf("freeze %s: %w", mount, errno)
	switch errno {
	case unix.EBUSY:
		return fault.Operator("FERRY-FREEZE-BUSY", "find out who froze it, a backup for example, and try again when that is over (fsfreeze --unfreeze thaws by hand)",
			fmt.Errorf("somebody else froze it: %w", err))
	case unix.EPERM:
		return fault.Operator("FERRY-FREEZE-RIGHTS", "run as root, with CAP_SYS_ADMIN", err)
	}
	return err
}

// errFreezerGone: what was frozen is thawed.
var errFreezerGone = fault.Temporary(fmt.Errorf("%w: the freezer was killed", ErrThawed))

func (g *Group) tooLong() error {
	return fault.Temporary(fmt.Errorf("%w: it took longer than %v", ErrThawed, g.o.Bound))
}

// thaw ends the round and returns what the freezer says of it. seen is news that came already, or nil. The error says that the
// filesystems did not stay frozen until now.
func (g *Group) thaw(seen *news) (end news, err error) {
	if err := g.say(order{Round: g.round}); err != nil {
		return end, err
	}
	for seen == nil || seen.Round != g.round || seen.What != newsThawed {
		n, alive := <-g.news
		if !alive {
			return end, errFreezerGone
		}
		seen = &n
	}
	switch {
	case len(seen.Undone) > 0:
		return *seen, fault.Temporary(fmt.Errorf("%w: somebody else thawed %s", ErrThawed, g.mounts[seen.Undone[0]%len(g.mounts)].path))
	case seen.Early:
		return *seen, g.tooLong()
	}
	return *seen, nil
}

func (g *Group) say(o order) error {
	text, err := json.Marshal(o)
	if err == nil {
		_, err = g.conn.Write(text)
	}
	if err != nil {
		return errFreezerGone
	}
	return nil
}

func (g *Group) report(end news, loose map[int]bool) Report {
	r := Report{Kind: PointNone}
	for i, m := range g.mounts {
		switch {
		case loose[i]:
			r.Loose = append(r.Loose, m.path)
		case i < len(end.Held):
			r.Kind = PointFilesystem
			r.Frozen = append(r.Frozen, Frozen{Mount: m.path, For: end.Held[i]})
		}
	}
	return r
}

// Close ends the freezer and closes the filesystems. A second call does nothing.
func (g *Group) Close() {
	g.do.Lock()
	defer g.do.Unlock()
	if g.conn != nil {
		g.conn.Close()
		g.conn = nil
	}
	if g.news != nil {
		for range g.news { // it is closed when no thaw needs the descriptors any more
		}
		select {
		case <-g.exited:
		case <-time.After(exitWithin): // the kernel still works on a FIFREEZE; the freezer thaws that and ends by itself
		}
	}
	for _, m := range g.mounts {
		m.file.Close()
	}
	g.mounts = nil
}

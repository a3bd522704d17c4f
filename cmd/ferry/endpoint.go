package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// defaultPort is the one of ferry target.
const defaultPort = "8900"

// endpoint is what --to names: a directory, a disk or an image on this machine, or a ferry target.
type endpoint struct {
	dir    string // absolute, as disk
	disk   string
	device bool   // disk is a device, not an image
	host   string // HOST:PORT
}

// String is what a person would type.
func (e endpoint) String() string {
	switch {
	case e.dir != "":
		return "dir:" + e.dir
	case e.device:
		return "device:" + e.disk
	case e.disk != "":
		return "image:" + e.disk
	}
	return e.host
}

// here reports whether the target is on this machine, in this process.
func (e endpoint) here() bool { return e.host == "" }

func parseTarget(to string) (e endpoint, err error) {
	kind, rest, found := strings.Cut(to, ":")
	switch {
	case found && (kind == "dir" || kind == "image" || kind == "device"):
		return parsePlace(kind, rest)
	case strings.ContainsAny(to, "/ "):
		return e, fmt.Errorf("--to %s: give dir:PATH, image:PATH or device:PATH, or HOST[:PORT]", to)
	}
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		host, port = strings.Trim(to, "[]"), defaultPort
	}
	if host == "" || port == "" {
		return e, fmt.Errorf("--to %s: give HOST or HOST:PORT", to)
	}
	return endpoint{host: net.JoinHostPort(host, port)}, nil
}

// parsePlace reads dir:PATH, image:PATH or device:PATH.
func parsePlace(kind, path string) (e endpoint, err error) {
	if path == "" {
		return e, fmt.Errorf("%s: names no path", kind)
	}
	path, err = filepath.Abs(path)
	switch kind {
	case "dir":
		e.dir = path
	case "image", "device":
		e.disk, e.device = path, kind == "device"
	default:
		err = fmt.Errorf("%s: give dir:PATH, image:PATH or device:PATH", kind)
	}
	return e, err
}

// apartFrom refuses a target that lies in the source, or the source in it: the copy would never end, or eat itself.
func (e endpoint) apartFrom(source string) error {
	if e.dir == "" {
		return nil
	}
	dir := realPath(e.dir)
	switch {
	case within(dir, source):
		return fault.Operator("FERRY-TARGET-IN-SOURCE", "choose a target outside the source, or migrate the directories beside it one by one",
			fmt.Errorf("the target %s lies in the source %s", dir, source))
	case within(source, dir):
		return fault.Operator("FERRY-SOURCE-IN-TARGET", "choose a target that does not hold the source",
			fmt.Errorf("the source %s lies in the target %s", source, dir))
	}
	return nil
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// realPath resolves the symbolic links of the part of path that exists.
func realPath(path string) string {
	for rest := ""; ; {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest)
		}
		if path == filepath.Dir(path) {
			return filepath.Join(path, rest)
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = filepath.Dir(path)
	}
}

// acceptor receives sessions until its context is done.
type acceptor interface {
	Serve(ctx context.Context, l *wire.Listener) error
}

// receiver is what receives into a place on this machine; done is told when a migration is complete.
func (e endpoint) receiver(state string, overwrite bool, log *slog.Logger, done func(string)) acceptor {
	state = filepath.Join(state, "target")
	if e.disk != "" {
		return &block.Receiver{Path: e.disk, Device: e.device, State: state, Software: software(), Overwrite: overwrite, Log: log, Done: done}
	}
	return &target.Receiver{Root: e.dir, State: state, Software: software(), Overwrite: overwrite, Log: log, Done: done}
}

// connectTo returns how to reach the target. For one on this machine a receiver runs beside, until stop.
func (m *migration) connectTo(ctx context.Context, opt wire.Options) (dial wire.DialFunc, stop func() error, err error) {
	if !m.to.here() {
		return m.remote(opt)
	}
	listener, dial := wire.Local(opt)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	receiver := m.to.receiver(m.state, m.flags.overwrite, m.log, nil)
	served := make(chan error, 1)
	go func() { served <- receiver.Serve(ctx, listener) }()
	return dial, func() error {
		cancel()
		return errors.Join(listener.Close(), <-served)
	}, nil
}

func (m *migration) remote(opt wire.Options) (wire.DialFunc, func() error, error) {
	id, err := wire.LoadIdentity(m.state)
	if err != nil {
		return nil, nil, err
	}
	peers, err := wire.OpenKnownPeers(filepath.Join(m.state, "targets.json"))
	if err != nil {
		return nil, nil, err
	}
	dial := func(ctx context.Context) (*wire.Conn, error) {
		return wire.Dial(ctx, m.to.host, id, peers, m.pair, opt)
	}
	return dial, func() error { return nil }, nil
}

// lossRemedy is what to do about a kind of loss that the target reports.
func lossRemedy(kind string) string { return target.RemedyOf(kind) }

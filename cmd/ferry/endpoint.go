package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// defaultPort is the one of ferry target.
const defaultPort = "8900"

// endpoint is what --to names: a directory on this machine, or a ferry target.
type endpoint struct {
	dir  string // absolute
	host string // HOST:PORT
}

func parseTarget(to string) (e endpoint, err error) {
	kind, rest, found := strings.Cut(to, ":")
	switch {
	case found && kind == "dir":
		if rest == "" {
			return e, fmt.Errorf("--to dir: names no directory")
		}
		e.dir, err = filepath.Abs(rest)
		return e, err
	case found && (kind == "image" || kind == "device"):
		return e, fmt.Errorf("--to %s: only directories and hosts are built so far", kind)
	case strings.ContainsAny(to, "/ "):
		return e, fmt.Errorf("--to %s: give dir:PATH for a directory, or HOST[:PORT]", to)
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

// connectTo returns how to reach the target. For a directory on this machine a receiver runs beside, until stop.
func (m *migration) connectTo(ctx context.Context, opt wire.Options) (dial wire.DialFunc, stop func() error, err error) {
	if m.to.dir == "" {
		return m.remote(opt)
	}
	listener, dial := wire.Local(opt)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	receiver := &target.Receiver{
		Root: m.to.dir, State: filepath.Join(m.state, "target"), Software: software(), Overwrite: m.flags.overwrite, Log: m.log,
	}
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

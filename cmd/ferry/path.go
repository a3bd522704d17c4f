package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// targetPath is the way to a `ferry target` for ferry check.
type targetPath struct {
	addr string
	dial wire.DialFunc
}

// ALPN name of the protocol (package wire).
const protocolName = "ferry"

// newTargetPath is the way to the target at addr. The bandwidth can be measured when pair is a pairing code, or when the state directory knows
// the target from an earlier pairing: only then is that directory touched.
func newTargetPath(addr, pair, state string) (targetPath, error) {
	p := targetPath{addr: addr}
	dir, err := stateDir(state)
	if err != nil {
		return p, err
	}
	if pair != "" {
		if dir, err = makeStateDir(state); err != nil {
			return p, err
		}
	} else if _, err := os.Stat(filepath.Join(dir, wire.TargetsFile)); err != nil {
		return p, nil
	}
	id, err := wire.LoadIdentity(dir)
	if err != nil {
		return p, err
	}
	peers, err := wire.OpenKnownPeers(filepath.Join(dir, wire.TargetsFile))
	if err != nil {
		return p, err
	}
	p.dial = func(ctx context.Context) (*wire.Conn, error) {
		return wire.Dial(ctx, addr, id, peers, pair, wire.Options{})
	}
	return p, nil
}

// Connect makes a TCP connection, whose time is taken, and then the TLS handshake: the connection counts only when Ferry's protocol is
// agreed on, so another service on the port is told apart.
func (p targetPath) Connect(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocolName},
		InsecureSkipVerify: true, // nothing is sent and nothing believed: peers are known by their keys, which a check does not need
	})
	if err := c.HandshakeContext(ctx); err != nil {
		return 0, fmt.Errorf("not a ferry target: %w", err)
	}
	if c.ConnectionState().NegotiatedProtocol != protocolName {
		return 0, errors.New("something else than a ferry target answers on this port")
	}
	return took, nil
}

// Send lets the target count bytes that mean nothing.
func (p targetPath) Send(ctx context.Context, limit int64, within time.Duration) (collector.Sent, error) {
	if p.dial == nil {
		return collector.Sent{}, fault.Operator("FERRY-PAIR-NEEDED", "give the code that `ferry target` printed, with --pair",
			errors.New("this host and the target do not know each other"))
	}
	t, err := wire.Measure(ctx, p.dial, wire.MeasureStreams, limit, within)
	return collector.Sent{Bytes: t.Bytes, Took: t.Took, Packets: t.Segments, Lost: t.Again}, err
}

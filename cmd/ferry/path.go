package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ferry-migrate/ferry/collector"
)

// targetPath is the way to a `ferry target` for ferry check. A connection counts only when TLS 1.3 is spoken and the protocol agreed on is
// Ferry's, so another service on the port is told apart. Bandwidth needs a paired session and is not measured.
type targetPath string

// ALPN name of the protocol (package wire).
const protocolName = "ferry"

// Connect makes a TCP connection, whose time is taken, and then the TLS handshake.
func (p targetPath) Connect(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(p))
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

// Send returns collector.ErrNoBandwidth.
func (p targetPath) Send(context.Context, int64) (int64, time.Duration, error) {
	return 0, 0, collector.ErrNoBandwidth
}

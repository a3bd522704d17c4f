package controller

import (
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBuckets(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBuckets(2, 4)
	for range 4 {
		require.Zero(t, b.take("a", now))
	}
	require.Equal(t, 500*time.Millisecond, b.take("a", now))
	require.Equal(t, 500*time.Millisecond, b.take("a", now), "to be refused costs nothing")
	require.Zero(t, b.take("b", now), "each client has its own")
	require.Zero(t, b.take("a", now.Add(500*time.Millisecond)))

	b.take("c", now.Add(2*bucketLife))
	require.Len(t, b.of, 1, "the idle are forgotten")
	for i := range maxBuckets + 10 {
		b.take(strconv.Itoa(i), now.Add(2*bucketLife))
	}
	require.LessOrEqual(t, len(b.of), maxBuckets)
	require.Zero(t, newBuckets(-1, 0).take("a", now), "no limit")
}

func TestSite(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234":            "192.0.2.7",
		"[::ffff:192.0.2.7]:1":      "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":          "fe80::/64",
		"nonsense":                  "nonsense",
	} {
		require.Equal(t, want, site(remote))
	}
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "192.0.2.7": false, "host": false, "::/64": false,
	} {
		require.Equal(t, want, loopback(host), host)
	}
	require.True(t, loopback(site("127.0.0.1:1")))
}

// A listener hands out what is put into it.
type fakeListener chan net.Conn

func (l fakeListener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, io.EOF
	}
	return conn, nil
}
func (l fakeListener) Close() error   { return nil }
func (l fakeListener) Addr() net.Addr { return nil }

type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return fakeAddr(c.from) }
func (c *fakeConn) Close() error         { c.closed = true; return nil }

type fakeAddr string

func (fakeAddr) Network() string  { return "tcp" }
func (a fakeAddr) String() string { return string(a) }

// One site cannot take all connections; what it closes it may open again.
func TestTurnstile(t *testing.T) {
	crowd, refused := make(fakeListener, maxSiteConnections+10), 0
	door := newTurnstile(crowd, func() { refused++ })
	for range maxSiteConnections {
		crowd <- &fakeConn{from: "192.0.2.7:1"}
	}
	var first net.Conn
	for range maxSiteConnections {
		conn, err := door.Accept()
		require.NoError(t, err)
		if first == nil {
			first = conn
		}
	}
	one, other := &fakeConn{from: "192.0.2.7:2"}, &fakeConn{from: "192.0.2.8:1"}
	crowd <- one
	crowd <- other
	conn, err := door.Accept()
	require.NoError(t, err)
	require.Equal(t, "192.0.2.8:1", conn.RemoteAddr().String())
	require.True(t, one.closed)
	require.Equal(t, 1, refused)
	require.Equal(t, maxSiteConnections+1, door.open())

	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "counts once")
	require.Equal(t, maxSiteConnections, door.open())
	crowd <- &fakeConn{from: "192.0.2.7:3"}
	_, err = door.Accept()
	require.NoError(t, err)
	close(crowd)
	_, err = door.Accept()
	require.True(t, errors.Is(err, io.EOF))
}

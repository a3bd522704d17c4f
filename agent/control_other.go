//go:build !linux

package agent

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
)

// Without sockets that have an owner, control is a port of the loopback. The file at the socket's path holds its address and a secret,
// ADDRESS SECRET, which begins each connection: who may read the state directory may control. Windows Server 2016 has no Unix sockets,
// and pipes with names would be a listener of our own.

// secretSize is the length of a secret on the wire, bytes.
const secretSize = 64

func listenControl(path string) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	random := make([]byte, secretSize/2)
	rand.Read(random) // never fails
	secret := hex.EncodeToString(random)
	if err := durable.WriteFile(path, []byte(listener.Addr().String()+" "+secret+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return controlListener{listener, secret}, nil
}

func dialControl(ctx context.Context, path string) (net.Conn, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	address, secret, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" || len(secret) != secretSize {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, secret); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func removeControl(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// controlListener accepts connections that cannot be read from before they told the secret.
type controlListener struct {
	net.Listener
	secret string
}

// Accept implements net.Listener.
func (l controlListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &controlConn{Conn: conn, secret: l.secret}, nil
}

// controlConn is one of them. Its deadlines, the server's, hold for the secret too.
type controlConn struct {
	net.Conn
	secret string // empty once it was told
}

// Read implements net.Conn.
func (c *controlConn) Read(p []byte) (int, error) {
	if c.secret != "" {
		told := make([]byte, secretSize)
		if _, err := io.ReadFull(c.Conn, told); err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare(told, []byte(c.secret)) != 1 {
			return 0, errors.New("local control: the secret is wrong")
		}
		c.secret = ""
	}
	return c.Conn.Read(p)
}

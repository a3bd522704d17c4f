package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Whoever dawdles in the handshake is thrown out, and does not keep others from coming in.
func TestSlowloris(t *testing.T) {
	source, target := newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, Options{Handshake: 2 * time.Second, HalfOpen: 3})
	var slow []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		defer c.Close()
		slow = append(slow, c)
	}
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() { // one byte of a record now and then does not buy time
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				slow[0].Write([]byte{22})
			}
		}
	})
	for len(l.halfOpen) < 3 {
		<-time.After(time.Millisecond)
	}
	// No room: closed at once, which is worth another try.
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	c.Close()
	start := time.Now()
	for _, c := range slow[1:] {
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("thrown out after %s", took)
	}
	for len(l.halfOpen) > 0 {
		<-time.After(time.Millisecond)
	}
	close(stop)
	drip.Wait()
	conn, err := source.dial(l, code.Text(), Options{})
	must(t, err)
	conn.Close()
	// Nor is the source kept waiting by a target that says nothing.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer mute.Close()
	start = time.Now()
	_, err = Dial(context.Background(), mute.Addr().String(), source.id, source.targets, code.Text(), Options{Handshake: 200 * time.Millisecond})
	wantTemporary(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err = Dial(ctx, mute.Addr().String(), source.id, source.targets, code.Text(), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("gave up after %s", took)
	}
}

func TestForeignProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
		io.Copy(io.Discard, c)
	}()
	n := newNode(t)
	_, err = Dial(context.Background(), ln.Addr().String(), n.id, n.targets, NewPairingCode(Fingerprint{}).Text(), Options{})
	wantCode(t, err, "FERRY-WIRE-FOREIGN")
}

func TestUnreachable(t *testing.T) {
	n := newNode(t)
	dial := func(addr string) error {
		_, err := Dial(context.Background(), addr, n.id, n.targets, "", Options{Handshake: time.Second})
		return err
	}
	wantCode(t, dial("no port"), "FERRY-WIRE-ADDRESS")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ln.Close()
	wantTemporary(t, dial(ln.Addr().String()))
}

func TestVersionMismatch(t *testing.T) {
	for _, c := range []struct {
		min, max int
		remedy   string
	}{{2, 3, "Upgrade ferry on the target."}, {0, 0, "Upgrade ferry on the source."}} {
		l, dial := Local(Options{})
		conn, err := dial(context.Background())
		must(t, err)
		must(t, conn.SendMessage(kindHello, hello{Min: c.min, Max: c.max, Software: "ferry 9.9"}))
		_, err = conn.ReadMessage()
		wantCode(t, err, "FERRY-WIRE-VERSION")
		want := fmt.Sprintf("(ferry 9.9) speaks versions %d to %d of the protocol, the target 1 to 1", c.min, c.max)
		if fault.RemedyOf(err) != c.remedy || !strings.Contains(err.Error(), want) {
			t.Errorf("%v %q", err, fault.RemedyOf(err))
		}
		conn.Close()
		l.Close()
	}
	if v, err := negotiate(&hello{Min: 1, Max: 7}); err != nil || v != 1 {
		t.Errorf("newer source that still speaks version 1: %d, %v", v, err)
	}
}

func TestRefusedSession(t *testing.T) {
	l, dial := Local(Options{})
	defer l.Close()
	go func() {
		in, err := l.Accept(context.Background())
		if err == nil {
			in.Refuse(fault.Operator("FERRY-TARGET-BUSY", "Wait.", errors.New("another migration is running")))
		}
	}()
	_, err := Open(context.Background(), dial, Hello{})
	wantCode(t, err, "FERRY-TARGET-BUSY")
}

// Only the peer that opened a session can join it, with its token, while it lasts.
func TestJoinIsGuarded(t *testing.T) {
	target, source, other := newNode(t), newNode(t), newNode(t)
	for _, n := range []*node{source, other} {
		must(t, target.sources.Add(n.id.Fingerprint(), ""))
		must(t, n.targets.Add(target.id.Fingerprint(), ""))
	}
	l := target.listen(t, nil, Options{})
	p := openOver(t, l, func(ctx context.Context) (*Conn, error) { return source.dial(l, "", Options{}) })
	thief := *p.session
	thief.dial = func(context.Context) (*Conn, error) { return other.dial(l, "", Options{}) }
	guess := *p.session
	guess.token = make([]byte, tokenSize)
	far := *p.session
	for name, try := range map[string]func() error{
		"another key":   func() error { _, err := thief.Join(context.Background(), 0); return err },
		"another token": func() error { _, err := guess.Join(context.Background(), 0); return err },
		"no token":      func() error { s := guess; s.token = nil; _, err := s.Join(context.Background(), 0); return err },
		"bad index":     func() error { _, err := far.Join(context.Background(), MaxStreams); return err },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), "the peer refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.incoming.Close()
	_, err := p.session.Join(context.Background(), 0)
	wantTemporary(t, err)
}

func TestListenerClose(t *testing.T) {
	target, source := newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, Options{})
	conn, err := source.dial(l, code.Text(), Options{}) // says no hello
	must(t, err)
	defer conn.Close()
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept(context.Background())
		accepted <- err
	}()
	must(t, l.Close())
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	wantTemporary(t, conn.Watch())
	if _, err := Listen("256.0.0.1:0", target.id, target.sources, nil, Options{}); fault.CodeOf(err) != "FERRY-WIRE-LISTEN" {
		t.Error(err)
	}
}

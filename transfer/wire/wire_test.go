package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one machine: its state directory, identity and both peer lists.
type node struct {
	id      *Identity
	targets *KnownPeers
	sources *KnownPeers
}

func newNode(t testing.TB) *node {
	t.Helper()
	dir := t.TempDir()
	id, err := LoadIdentity(dir)
	must(t, err)
	targets, err := OpenKnownPeers(filepath.Join(dir, TargetsFile))
	must(t, err)
	sources, err := OpenKnownPeers(filepath.Join(dir, SourcesFile))
	must(t, err)
	return &node{id, targets, sources}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if fault.CodeOf(err) != code || fault.ClassOf(err) != fault.ClassOperator || fault.RemedyOf(err) == "" {
		t.Fatalf("error %v (code %q, remedy %q), want %s", err, fault.CodeOf(err), fault.RemedyOf(err), code)
	}
}

func (n *node) listen(t testing.TB, code *PairingCode, opt Options) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", n.id, n.sources, code, opt)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func (n *node) dial(l *Listener, code string, opt Options) (*Conn, error) {
	return Dial(context.Background(), l.Addr().String(), n.id, n.targets, code, opt)
}

// pair is an open session over real TCP and TLS with one data connection.
type pair struct {
	session  *Session
	incoming *Incoming
	out, in  *Conn // the data connection, source and target end
}

func openPair(t testing.TB, sourceOpt, targetOpt Options) *pair {
	t.Helper()
	source, target := newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, targetOpt)
	return openOver(t, l, func(ctx context.Context) (*Conn, error) { return source.dial(l, code.Text(), sourceOpt) })
}

func openOver(t testing.TB, l *Listener, dial DialFunc) *pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var p pair
	accepted := make(chan error, 1)
	go func() {
		var err error
		if p.incoming, err = l.Accept(ctx); err == nil {
			err = p.incoming.Accept(Hello{Features: []string{"b", "c"}, Software: "target", Body: "welcome"})
		}
		accepted <- err
	}()
	var err error
	p.session, err = Open(ctx, dial, Hello{Features: []string{"b", "a"}, Software: "source", Body: "knock"})
	must(t, err)
	must(t, <-accepted)
	p.out, err = p.session.Join(ctx, 3)
	must(t, err)
	var index int
	p.in, index, err = p.incoming.Join(ctx)
	must(t, err)
	if index != 3 {
		t.Fatalf("joined as %d", index)
	}
	t.Cleanup(func() {
		p.out.Close()
		p.in.Close()
		p.session.Close()
		p.incoming.Close()
	})
	return &p
}

func TestSession(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *pair{
		"tcp": func(t *testing.T) *pair { return openPair(t, Options{}, Options{}) },
		"local": func(t *testing.T) *pair {
			l, dial := Local(Options{})
			t.Cleanup(func() { l.Close() })
			return openOver(t, l, dial)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			var body string
			must(t, p.incoming.Greeting.Decode(&body))
			g := &p.incoming.Greeting
			if body != "knock" || g.Software != "source" || g.Version != 1 || !g.Can("b") || g.Can("a") || g.Can("c") {
				t.Fatalf("greeting %+v %q", g, body)
			}
			must(t, p.session.Greeting.Decode(&body))
			g = &p.session.Greeting
			if body != "welcome" || g.Software != "target" || g.Version != 1 || !g.Can("b") || g.Can("a") || g.Can("c") {
				t.Fatalf("greeting %+v %q", g, body)
			}
			must(t, p.session.Control.SendMessage("done", map[string]int{"files": 7}))
			m, err := p.incoming.Control.ReadMessage()
			must(t, err)
			var got map[string]int
			must(t, m.Decode(&got))
			if m.Kind != "done" || got["files"] != 7 {
				t.Fatalf("message %q %v", m.Kind, got)
			}
			p.session.Close()
			if _, err := p.incoming.Control.ReadMessage(); !errors.Is(err, io.EOF) || fault.ClassOf(err) != fault.ClassTemporary {
				t.Fatalf("after close: %v", err)
			}
			if _, _, err := p.incoming.Join(context.Background()); !errors.Is(err, io.EOF) {
				t.Fatalf("join after close: %v", err)
			}
			if _, err := p.session.Control.ReadMessage(); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("own end after close: %v", err)
			}
		})
	}
}

package wire

import (
	"context"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/ferry-migrate/ferry/internal/fault"
)

const (
	// MinVersion is the lowest version of the protocol that this package speaks.
	MinVersion = 1
	// MaxVersion is the highest.
	MaxVersion = 1

	// MaxStreams is how many data connections may join one session.
	MaxStreams = 64
)

const (
	kindHello  = "hello"
	kindReady  = "ready"
	kindJoin   = "join"
	kindJoined = "joined"
)

// Hello is what one side says of itself when a session opens. Body is anything CBOR can encode; the other side gets it encoded.
type Hello struct {
	Features []string // what this side can do, plain names
	Software string   // for messages and logs, such as "ferry 1.2.0 linux/amd64"
	Body     any
}

// Greeting is a Hello as it arrived.
type Greeting struct {
	Version  int      // of the protocol, in use from here on
	Features []string // those both sides named, sorted
	Software string   // of the peer
	body     Message
}

// Decode decodes the body of the peer's Hello into v, a pointer.
func (g *Greeting) Decode(v any) error { return g.body.Decode(v) }

// Can reports whether both sides have the feature.
func (g *Greeting) Can(feature string) bool { return slices.Contains(g.Features, feature) }

type hello struct {
	Min      int             `cbor:"min"`
	Max      int             `cbor:"max"`
	Features []string        `cbor:"features"`
	Software string          `cbor:"software"`
	Body     cbor.RawMessage `cbor:"body"`
}

type ready struct {
	Version  int             `cbor:"version"`
	Features []string        `cbor:"features"`
	Software string          `cbor:"software"`
	Token    []byte          `cbor:"token"`
	Body     cbor.RawMessage `cbor:"body"`
}

type join struct {
	Token []byte `cbor:"token"`
	Index int    `cbor:"index"`
}

// A DialFunc makes one more authenticated connection to the target. Dial with its arguments bound is one, Local returns another.
type DialFunc func(ctx context.Context) (*Conn, error)

// Session is the source's end of a session.
type Session struct {
	Control  *Conn
	Greeting Greeting // from the target

	dial  DialFunc
	token []byte
}

// Open dials the control connection and opens a session on it. It waits for the answer as long as the target is alive, for
// the target may have state to read first.
func Open(ctx context.Context, dial DialFunc, h Hello) (*Session, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := c.CloseOn(ctx)
	defer stop()
	s := &Session{Control: c, dial: dial}
	if err := s.greet(h); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

func (s *Session) greet(h Hello) error {
	body, err := encoding.Marshal(h.Body)
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode hello: %w", err))
	}
	err = s.Control.SendMessage(kindHello, hello{MinVersion, MaxVersion, h.Features, h.Software, body})
	if err != nil {
		return err
	}
	if err := s.Control.start(); err != nil {
		return err
	}
	var r ready
	if err := s.Control.expect(kindReady, &r); err != nil {
		return err
	}
	if r.Version < MinVersion || r.Version > MaxVersion || len(r.Token) != tokenSize {
		return violation("answer to hello with version %d and a token of %d bytes", r.Version, len(r.Token))
	}
	s.token = r.Token
	s.Greeting = Greeting{r.Version, common(h.Features, r.Features), clean(r.Software, 128), Message{Kind: kindReady, Body: r.Body}}
	return nil
}

// Join dials a data connection. index, from 0, tells the connections of a session apart.
func (s *Session) Join(ctx context.Context, index int) (*Conn, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := c.CloseOn(ctx)
	defer stop()
	err = c.SendMessage(kindJoin, join{s.token, index})
	if err == nil {
		err = c.expect(kindJoined, new(struct{}))
	}
	if err == nil {
		err = c.start()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("join session: %w", err)
	}
	return c, nil
}

// Close closes the control connection, and with it the session; data connections are closed by whoever joined them.
func (s *Session) Close() error { return s.Control.Close() }

// negotiate picks the version, on the target.
func negotiate(h *hello) (int, error) {
	version := min(MaxVersion, h.Max)
	if version >= MinVersion && version >= h.Min {
		return version, nil
	}
	side := "source"
	if h.Min > MaxVersion {
		side = "target"
	}
	return 0, fault.Operator("FERRY-WIRE-VERSION", "Upgrade ferry on the "+side+".",
		fmt.Errorf("the source (%s) speaks versions %d to %d of the protocol, the target %d to %d",
			clean(h.Software, 128), h.Min, h.Max, MinVersion, MaxVersion))
}

// common returns what a and b share, sorted.
func common(a, b []string) []string {
	var both []string
	for _, f := range a {
		if slices.Contains(b, f) {
			both = append(both, f)
		}
	}
	slices.Sort(both)
	return slices.Compact(both)
}

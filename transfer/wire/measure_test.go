package wire

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// meter is an enrolled source and the target that it measures.
type meter struct {
	target *Listener
	dial   DialFunc
}

func newMeter(t *testing.T, source, target Options) meter {
	from, to := newNode(t), newNode(t)
	code := NewPairingCode(to.id.Fingerprint())
	l := to.listen(t, code, target)
	return meter{l, func(context.Context) (*Conn, error) { return from.dial(l, code.Text(), source) }}
}

// begin opens a measurement by hand.
func (m meter) begin(t *testing.T, ask measure) (*Conn, measure) {
	t.Helper()
	c, err := m.dial(context.Background())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	granted, err := c.askMeasure(context.Background(), ask)
	must(t, err)
	return c, granted
}

func TestMeasure(t *testing.T) {
	m := newMeter(t, Options{}, Options{})
	const limit = 4 << 20
	got, err := Measure(context.Background(), m.dial, 3, limit, 5*time.Second)
	must(t, err)
	if got.Bytes < limit-3 || got.Bytes > limit || got.Took <= 0 {
		t.Fatalf("%d of %d bytes in %s", got.Bytes, limit, got.Took)
	}
	if runtime.GOOS == "linux" && got.Segments == 0 || got.Again > got.Segments {
		t.Fatalf("%d of %d segments sent again", got.Again, got.Segments)
	}
	// Another one at once: the places are free again.
	_, err = Measure(context.Background(), m.dial, MeasureStreams, 1, time.Second)
	must(t, err)
	select {
	case in := <-m.target.accepted:
		t.Fatalf("a measurement opened the session %v", in)
	default:
	}
}

// TestMeasureSlow has a link that takes far longer for all bytes than there is time: the time ends it.
func TestMeasureSlow(t *testing.T) {
	m := newMeter(t, Options{Limiter: ratelimit.NewBucket(ratelimit.Constant(1 << 20))}, Options{})
	got, err := Measure(context.Background(), m.dial, 1, MeasureBytes, 300*time.Millisecond)
	must(t, err)
	if got.Bytes <= 0 || got.Bytes >= MeasureBytes || got.Took < 300*time.Millisecond {
		t.Fatalf("%d bytes in %s", got.Bytes, got.Took)
	}
}

func TestMeasureCancel(t *testing.T) {
	m := newMeter(t, Options{Limiter: ratelimit.NewBucket(ratelimit.Constant(64 << 10))}, Options{})
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	first := true
	_, err := Measure(ctx, func(dialing context.Context) (*Conn, error) {
		c, err := m.dial(dialing)
		if first {
			first = false
			time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		}
		return c, err
	}, 1, 1<<20, MeasureTime)
	if !errors.Is(err, why) {
		t.Fatal(err)
	}
}

// TestMeasureHostile: what a source asks for beyond the bounds it does not get, and what it sends beyond them ends it.
func TestMeasureHostile(t *testing.T) {
	m := newMeter(t, Options{}, Options{})

	_, granted := m.begin(t, measure{Bytes: 1 << 62, Millis: 1 << 62})
	if granted.Bytes != MeasureBytes || granted.Millis != MeasureTime.Milliseconds() {
		t.Fatalf("granted %+v", granted)
	}
	c, granted := m.begin(t, measure{Bytes: 1, Millis: -1})
	if granted.Millis != 1 {
		t.Fatalf("granted %+v", granted)
	}
	must(t, c.WriteFrame(Header{Type: TypeOps, Seq: 1}, []byte("x")))
	if _, err := c.ReadMessage(); err == nil || fault.ClassOf(err) != fault.ClassPermanent {
		t.Fatalf("operations in a measurement: %v", err)
	}

	c, _ = m.begin(t, measure{Bytes: 1 << 20, Millis: 10_000}) // sends nothing after all
	for range MeasureStreams - 2 {
		m.begin(t, measure{Bytes: 1, Millis: 10_000})
	}
	if _, err := Measure(context.Background(), m.dial, 1, 1, time.Second); err == nil || fault.ClassOf(err) != fault.ClassTemporary {
		t.Fatalf("one more than there are places: %v", err)
	}
	// A source that sends on after its answer is read to the end of its time, and not for ever.
	go c.sendNothing(MeasureBytes * 4)
	var end measured
	must(t, c.expect(kindMeasured, &end))
	if end.Bytes != 1<<20 {
		t.Fatalf("measured %d", end.Bytes)
	}
	if _, err := c.ReadMessage(); err == nil {
		t.Fatal("the connection goes on after its measurement")
	}
}

// TestMeasureSilent: a source that asks and sends nothing is let go of.
func TestMeasureSilent(t *testing.T) {
	t.Parallel()
	m := newMeter(t, Options{}, Options{Handshake: 4 * time.Second})
	c, _ := m.begin(t, measure{Bytes: 1, Millis: 1})
	if _, err := c.ReadMessage(); err == nil {
		t.Fatal("an answer to nothing")
	}
}

// TestMeasureStranger: without enrolment nothing is measured.
func TestMeasureStranger(t *testing.T) {
	from, to := newNode(t), newNode(t)
	l := to.listen(t, nil, Options{})
	_, err := Measure(context.Background(), func(context.Context) (*Conn, error) { return from.dial(l, "", Options{}) }, 1, 1, time.Second)
	wantCode(t, err, "FERRY-PAIR-NEEDED")
}

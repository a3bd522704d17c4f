package wire

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// What a target grants to measurements, whatever a source asks for. Only enrolled sources get so far.
const (
	// MeasureStreams is how many connections may measure at the same time.
	MeasureStreams = 4
	// MeasureBytes is the most that one connection may send.
	MeasureBytes = 64 << 20
	// MeasureTime is the longest that one connection may send.
	MeasureTime = 10 * time.Second
)

const (
	kindMeasure   = "measure"
	kindMeasuring = "measuring"
	kindMeasured  = "measured"

	measureFrame = 64 << 10
)

// measure asks for bounds, and measuring grants them.
type measure struct {
	Bytes  int64 `cbor:"bytes"`
	Millis int64 `cbor:"millis"`
}

// measured is what arrived.
type measured struct {
	Bytes int64 `cbor:"bytes"`
}

// Throughput is what a measurement found.
type Throughput struct {
	Bytes int64         // that the target took
	Took  time.Duration // how long that was
	// Segments of TCP that were sent, and how many were sent again because they were lost, or late enough to seem so. Both are 0 where the
	// system does not tell.
	Segments, Again int64
}

// Measure sends bytes that mean nothing to the target over the given number of connections at once, until it took limit bytes in all or
// within is over. The target writes nothing and opens no session. Errors are those of dial; a target that is measured already, or that does not
// know the message, refuses.
func Measure(ctx context.Context, dial DialFunc, streams int, limit int64, within time.Duration) (Throughput, error) {
	streams = min(max(streams, 1), MeasureStreams)
	ask := measure{Bytes: min(max(limit/int64(streams), 1), MeasureBytes), Millis: min(max(within, 1), MeasureTime).Milliseconds()}
	conns, grants := make([]*Conn, streams), make([]measure, streams)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	g, asking := errgroup.WithContext(ctx)
	for i := range streams {
		g.Go(func() (err error) {
			if conns[i], err = dial(asking); err != nil {
				return err
			}
			grants[i], err = conns[i].askMeasure(asking, ask)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Throughput{}, err
	}
	return pump(ctx, conns, grants)
}

// askMeasure opens a measurement on a fresh connection and returns what the target grants.
func (c *Conn) askMeasure(ctx context.Context, ask measure) (granted measure, err error) {
	stop := c.CloseOn(ctx)
	defer stop()
	if err := c.SendMessage(kindMeasure, ask); err != nil {
		return granted, err
	}
	if err := c.expect(kindMeasuring, &granted); err != nil {
		return granted, err
	}
	if granted.Bytes < 1 || granted.Bytes > ask.Bytes {
		return granted, violation("measurement of %d bytes granted where %d were asked for", granted.Bytes, ask.Bytes)
	}
	return granted, nil
}

// pump sends on all connections until the target says of each that it has had enough.
func pump(ctx context.Context, conns []*Conn, grants []measure) (Throughput, error) {
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var all Throughput
	start := time.Now()
	for i, c := range conns {
		g.Go(func() error {
			stop := c.CloseOn(ctx)
			defer stop()
			var sending sync.WaitGroup
			sending.Go(func() { c.sendNothing(grants[i].Bytes) })
			var got measured
			err := c.expect(kindMeasured, &got)
			end := time.Since(start)
			sent, again := segments(c.link.Conn)
			c.Close()
			sending.Wait()
			if err == nil && (got.Bytes < 0 || got.Bytes > grants[i].Bytes) {
				err = violation("%d bytes measured of %d", got.Bytes, grants[i].Bytes)
			}
			mu.Lock()
			defer mu.Unlock()
			all.Bytes, all.Took = all.Bytes+got.Bytes, max(all.Took, end)
			all.Segments, all.Again = all.Segments+sent, all.Again+again
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Throughput{}, err
	}
	return all, nil
}

// sendNothing sends n bytes of zeroes, or until the connection ends. TLS makes them as hard to compress on the way as any.
func (c *Conn) sendNothing(n int64) {
	payload := make([]byte, measureFrame)
	for n > 0 {
		piece := payload[:min(n, measureFrame)]
		if c.WriteFrame(Header{Type: typeMeasure}, piece) != nil {
			return // the reader knows why
		}
		n -= int64(len(piece))
	}
}

var errMeasureBusy = fault.Temporary(errors.New("the target is being measured already: try again in some seconds"))

// measure lets a source send bytes and counts them, while it holds one of the places of MeasureStreams. The connection ends with it.
func (l *Listener) measure(c *Conn, m Message) error {
	var ask measure
	if err := m.Decode(&ask); err != nil {
		return err
	}
	select {
	case l.measures <- struct{}{}:
		defer func() { <-l.measures }()
	default:
		return errMeasureBusy
	}
	within := time.Duration(min(max(ask.Millis, 1), MeasureTime.Milliseconds())) * time.Millisecond
	granted := measure{Bytes: min(max(ask.Bytes, 1), MeasureBytes), Millis: within.Milliseconds()}
	if err := c.link.SetDeadline(time.Now().Add(within + l.opt.Handshake)); err != nil {
		return c.broken("measure", err)
	}
	if err := c.SendMessage(kindMeasuring, granted); err != nil {
		return err
	}
	got, err := c.discard(granted.Bytes, within)
	if err != nil {
		return err
	}
	if err := c.SendMessage(kindMeasured, measured{Bytes: got}); err != nil {
		return err
	}
	// What is still on its way is read too, until the source closes: data left unread would make this side's close a reset, and
	// that could overtake the answer.
	if _, err = c.discard(MeasureBytes, MeasureTime); err == nil || fault.ClassOf(err) == fault.ClassTemporary {
		return c.Close()
	}
	return err
}

// discard reads measuring frames until limit bytes came, or within is over since the first.
func (c *Conn) discard(limit int64, within time.Duration) (got int64, err error) {
	buf := make([]byte, measureFrame)
	var start time.Time
	for got < limit && (start.IsZero() || time.Since(start) < within) {
		h, payload, err := c.ReadFrame(buf)
		if err != nil {
			return got, err
		}
		if h.Type != typeMeasure || h.Length == 0 {
			return got, violation("frame of type %d, %d bytes, in a measurement", h.Type, h.Length)
		}
		if start.IsZero() {
			start = time.Now()
		}
		buf, got = payload[:cap(payload)], got+int64(h.Length)
	}
	return min(got, limit), nil
}

package collector

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// script is a path whose handshakes take what it says; a negative one is lost.
type script struct {
	took []time.Duration
	sent int64
	lost int64
	err  error
}

func (s *script) Connect(context.Context) (time.Duration, error) {
	d := s.took[0]
	if len(s.took) > 1 {
		s.took = s.took[1:]
	}
	if d < 0 {
		return 0, errors.New("lost")
	}
	return d, nil
}

func (s *script) Send(context.Context, int64, time.Duration) (Sent, error) {
	return Sent{Bytes: s.sent, Took: time.Second, Packets: 1000, Lost: s.lost}, s.err
}

// tcpPath measures connections only.
type tcpPath string

func (p tcpPath) Connect(ctx context.Context) (time.Duration, error) {
	return connectTCP(ctx, string(p))
}

func (p tcpPath) Send(context.Context, int64, time.Duration) (Sent, error) {
	return Sent{}, errors.New("not here")
}

func TestMeasure(t *testing.T) {
	const ms = time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()

	n := Measure(context.Background(), "target:1", &script{took: []time.Duration{10 * ms, 20 * ms, 10 * ms, 20 * ms, -1, 10 * ms, 10 * ms}, sent: 125_000_000}, []string{listener.Addr().String()})
	require.True(t, n.Target.OK)
	require.Equal(t, 10.0, n.Loss)
	require.Equal(t, 10.0, n.Delay)
	require.Equal(t, 5.0, n.Jitter)
	require.EqualValues(t, 125_000_000, n.Bandwidth)
	require.Equal(t, "poor", n.Evaluation) // a tenth was lost
	require.True(t, n.Domains[0].OK)
	require.Greater(t, n.Memory, 0.0)

	n = Measure(context.Background(), "target:1", &script{took: []time.Duration{ms}, sent: 125_000_000, lost: 20}, nil)
	require.Equal(t, 2.0, n.Loss)
	require.Contains(t, strings.Join(n.Reasons, "\n"), "2.0 % were lost")

	n = Measure(context.Background(), "target:1", &script{took: []time.Duration{60 * ms}, err: fault.Operator("FERRY-X", "do this", errors.New("cannot"))}, nil)
	require.Equal(t, "medium", n.Evaluation)
	require.Contains(t, strings.Join(n.Reasons, "\n"), "delay is 60 ms")
	require.Zero(t, n.Bandwidth)
	require.Equal(t, "cannot: do this", n.Unmeasured)

	n = Measure(context.Background(), closed.Addr().String(), tcpPath(closed.Addr().String()), []string{closed.Addr().String()})
	require.False(t, n.Target.OK)
	require.Equal(t, "poor", n.Evaluation)
	require.Equal(t, 100.0, n.Loss)
	require.False(t, n.Domains[0].OK)
}

// TestMeasureCancel: the end of the context ends it at once.
func TestMeasureCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	start := time.Now()
	Measure(ctx, "192.0.2.1:1", tcpPath("192.0.2.1:1"), []string{"192.0.2.1:2"})
	require.Less(t, time.Since(start), connectTimeout)
}

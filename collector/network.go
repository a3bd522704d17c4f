package collector

import (
	"context"
	"fmt"
	"math"
	"net"
	"sort"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Path is the way to a target. Measure calls its methods one after the other.
type Path interface {
	// Connect makes one connection to the target, says how long its handshake took, and closes it.
	Connect(ctx context.Context) (time.Duration, error)
	// Send pushes at most limit bytes to the target, for at most the given time.
	Send(ctx context.Context, limit int64, within time.Duration) (Sent, error)
}

// Sent is what became of pushing bytes to a target.
type Sent struct {
	Bytes         int64 // that the target took
	Took          time.Duration
	Packets, Lost int64 // how many were sent, and how many of them again; 0 packets: not known
}

// Bounds of one measurement.
const (
	connectTries   = 10
	connectTimeout = 2 * time.Second
	connectPause   = 50 * time.Millisecond
	sendTime       = 5 * time.Second
	sendBytes      = 64 << 20
)

// Reach says whether a name and port can be reached.
type Reach struct {
	Address string `json:"address"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
}

// Network is the result of a network check. Rates are bytes per second, times milliseconds, the rest percent.
type Network struct {
	Domains    []Reach `json:"domains"` // control plane and the like
	Target     Reach   `json:"target"`
	Delay      float64 `json:"delay_ms"` // median of the handshakes: one round trip
	Jitter     float64 `json:"jitter_ms"`
	Loss       float64 `json:"loss_percent"`        // of connections, or of packets where the system tells, whichever is more
	Bandwidth  int64   `json:"bandwidth,omitempty"` // 0: not measured, and Unmeasured says why
	Unmeasured string  `json:"unmeasured,omitempty"`
	CPU        float64 `json:"cpu_percent"` // of this host, during the check
	Memory     float64 `json:"memory_percent"`
	// Evaluation is good, medium or poor; Reasons say why it is not good.
	Evaluation string   `json:"evaluation"`
	Reasons    []string `json:"reasons"`
}

// Measure checks the way to a target, "" for none, and whether domains (host:port) can be reached. It takes at most some seconds for each of
// them, and sends at most 64 MiB for 5 s; when ctx ends before, the result is what is known until then.
func Measure(ctx context.Context, target string, path Path, domains []string) Network {
	n := Network{Domains: []Reach{}, Target: Reach{Address: target}, Reasons: []string{}}
	_, _ = cpu.PercentWithContext(ctx, 0, false) // starts the interval that ends below
	n.Domains = reachAll(ctx, domains)
	if target != "" {
		n.connect(ctx, path)
	}
	if n.Target.OK {
		n.send(ctx, path)
	}
	if p, err := cpu.PercentWithContext(ctx, 0, false); err == nil && len(p) > 0 {
		n.CPU = round(p[0])
	}
	if v, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		n.Memory = round(v.UsedPercent)
	}
	n.evaluate()
	return n
}

func reachAll(ctx context.Context, addresses []string) []Reach {
	out := make([]Reach, len(addresses))
	inParallel(len(addresses), 8, func(i int) {
		_, err := connectTCP(ctx, addresses[i])
		out[i] = Reach{Address: addresses[i], OK: err == nil}
		if err != nil {
			out[i].Error = err.Error()
		}
	})
	return out
}

// connect makes handshakes one after the other; one that fails or takes too long is lost.
func (n *Network) connect(ctx context.Context, path Path) {
	var took []float64
	tries := 0
	for ; tries < connectTries && ctx.Err() == nil; tries++ {
		try, cancel := context.WithTimeout(ctx, connectTimeout)
		d, err := path.Connect(try)
		cancel()
		if err != nil {
			n.Target.Error = err.Error()
			if len(took) == 0 && tries == 2 { // three in a row: there is nobody
				tries++
				break
			}
		} else {
			took = append(took, float64(d)/float64(time.Millisecond))
		}
		select {
		case <-time.After(connectPause):
		case <-ctx.Done():
		}
	}
	n.Loss = round(float64(tries-len(took)) / float64(max(tries, 1)) * 100)
	if len(took) == 0 {
		return
	}
	n.Target.OK = true
	n.Jitter = round(jitter(took))
	sort.Float64s(took)
	n.Delay = round(took[len(took)/2])
}

// jitter is the mean difference of neighbours, as RFC 3550 has it in spirit.
func jitter(took []float64) float64 {
	if len(took) < 2 {
		return 0
	}
	sum := 0.0
	for i := 1; i < len(took); i++ {
		sum += math.Abs(took[i] - took[i-1])
	}
	return sum / float64(len(took)-1)
}

func (n *Network) send(ctx context.Context, path Path) {
	ctx, cancel := context.WithTimeout(ctx, 2*sendTime+connectTimeout) // the target ends it; this is for one that does not
	defer cancel()
	sent, err := path.Send(ctx, sendBytes, sendTime)
	switch {
	case err == nil && sent.Took > 0:
		n.Bandwidth = int64(float64(sent.Bytes) / sent.Took.Seconds())
		n.Loss = max(n.Loss, round(float64(sent.Lost)/float64(max(sent.Packets, 1))*100))
	case err != nil:
		n.Unmeasured = err.Error()
		if remedy := fault.RemedyOf(err); remedy != "" {
			n.Unmeasured += ": " + remedy
		}
	}
}

func round(v float64) float64 { return math.Round(v*100) / 100 }

// evaluate sums up. The bounds are those at which a migration begins to suffer: 10 Mbit/s is what the control connection alone
// may need beside data, 300 Mbit/s what keeps one disk busy.
func (n *Network) evaluate() {
	const mbit = 1_000_000 / 8
	n.Evaluation = "good"
	worse := func(bad, poor bool, format string, a ...any) {
		switch {
		case poor:
			n.Evaluation = "poor"
		case bad && n.Evaluation == "good":
			n.Evaluation = "medium"
		}
		if bad || poor {
			n.Reasons = append(n.Reasons, fmt.Sprintf(format, a...))
		}
	}
	worse(false, n.Target.Address != "" && !n.Target.OK, "the target cannot be reached: %s", n.Target.Error)
	for _, d := range n.Domains {
		worse(false, !d.OK, "%s cannot be reached: %s", d.Address, d.Error)
	}
	if n.Target.OK {
		worse(n.Loss > 1, n.Loss > 5, "%.1f %% were lost", n.Loss)
		worse(n.Delay > 50, n.Delay > 200, "the delay is %.0f ms", n.Delay)
		worse(n.Jitter > 10, n.Jitter > 100, "the delay varies by %.0f ms", n.Jitter)
		if n.Bandwidth > 0 {
			worse(n.Bandwidth < 300*mbit, n.Bandwidth < 10*mbit, "the bandwidth is %d Mbit/s", n.Bandwidth/mbit)
		}
	}
	worse(n.CPU > 80, false, "the processors are %.0f %% busy", n.CPU)
	worse(n.Memory > 75, n.Memory > 95, "%.0f %% of the memory are in use", n.Memory)
}

// connectTCP opens and closes a connection to a host and port of which nothing else is known.
func connectTCP(ctx context.Context, address string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	start := time.Now()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	return time.Since(start), c.Close()
}

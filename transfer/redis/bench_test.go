package redis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/redis"
)

// BenchmarkFull compares a full copy with Redis' own replication, on the same two servers, in turn.
func BenchmarkFull(b *testing.B) {
	loads := map[string]func(*instance){
		"1M small keys": func(i *instance) { i.do("DEBUG POPULATE 1000000 key 100") },
		"1 GiB of 1 MiB values": func(i *instance) {
			value := make([]byte, 1<<20)
			copy(value[1<<19:], strings.Repeat("compressible ", 1<<19/13))
			c := i.conn()
			for k := range 1024 {
				rand.Read(value[:1<<19])
				_, err := c.Do("SET", fmt.Sprint("key:", k), string(value))
				require.NoError(b, err)
			}
		},
	}
	for name, load := range loads {
		from := serve(b, "--client-output-buffer-limit", "replica 0 0 0")
		load(from)
		b.Run(name+"/ferry", func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				to := serve(b)
				b.StartTimer()
				migrate(b, redis.Config{From: from.at, To: to.at, Once: true})
				b.StopTimer()
				require.Equal(b, from.do("DBSIZE"), to.do("DBSIZE"))
				to.Kill()
			}
		})
		b.Run(name+"/replicaof", func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				to := serve(b)
				port := from.port()
				b.StartTimer()
				to.do("REPLICAOF 127.0.0.1 " + port)
				for !strings.Contains(to.do("INFO replication"), "master_link_status:up") {
					time.Sleep(5 * time.Millisecond)
				}
				b.StopTimer()
				require.Equal(b, from.do("DBSIZE"), to.do("DBSIZE"))
				to.Kill()
			}
		})
		from.Kill()
	}
}

// BenchmarkLag tells how long a write takes to reach the target while the source takes 20,000 writes a second.
func BenchmarkLag(b *testing.B) {
	from, to := serve(b), serve(b)
	m := redis.New(redis.Config{From: from.at, To: to.at, State: b.TempDir()})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	for m.Progress().Phase != "follow" {
		time.Sleep(time.Millisecond)
	}
	stop, written := make(chan struct{}), make(chan int)
	load := from.conn()
	go func() {
		n := 0
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				written <- n
				return
			case <-tick.C:
			}
			commands := make([][]string, 100)
			for i := range commands {
				commands[i] = []string{"SET", fmt.Sprint("key:", n%100_000), "0123456789012345678901234567890123456789"}
				n++
			}
			if _, err := load.Pipeline(commands...); err != nil {
				b.Error(err)
			}
		}
	}()
	beat, seen := from.conn(), to.conn()
	var lags []time.Duration
	began := time.Now()
	for n := 1; b.Loop(); n++ {
		_, err := beat.Do("SET", "beat", fmt.Sprint(n))
		require.NoError(b, err)
		sent := time.Now()
		for {
			r, err := seen.Do("GET", "beat")
			require.NoError(b, err)
			if r.Text() == fmt.Sprint(n) {
				break
			}
		}
		lags = append(lags, time.Since(sent))
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	b.ReportMetric(float64(<-written)/time.Since(began).Seconds(), "writes/s")
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "ms-p99")
	m.Cutover()
	require.NoError(b, <-ended)
}

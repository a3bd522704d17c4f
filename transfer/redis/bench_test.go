package redis_test

import (
	"crypto/rand"
	"fmt"
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
				to.kill()
			}
		})
		b.Run(name+"/replicaof", func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				to := serve(b)
				port := from.listen()
				b.StartTimer()
				to.do("REPLICAOF 127.0.0.1 " + port)
				for !strings.Contains(to.do("INFO replication"), "master_link_status:up") {
					time.Sleep(5 * time.Millisecond)
				}
				b.StopTimer()
				require.Equal(b, from.do("DBSIZE"), to.do("DBSIZE"))
				to.kill()
			}
		})
		from.kill()
	}
}

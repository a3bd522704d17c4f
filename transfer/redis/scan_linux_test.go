package redis_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

// TestScan migrates from a source that refuses to be replicated, at rest and under writes.
func TestScan(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	from.do("FUNCTION FLUSH")
	from.do("ACL SETUSER default -psync -sync")
	c := redis.Config{From: from.at, To: to.at, Once: true, Scan: true}
	migrate(t, c)
	same(t, from, to)
	require.InDelta(t, from.run("PEXPIRETIME", "soon").Int, to.run("PEXPIRETIME", "soon").Int, 1000)

	to.do("FLUSHALL")
	c.Once, c.State = false, t.TempDir()
	require.Equal(t, "FERRY-REDIS-NOTIFY", fault.CodeOf(redis.New(c).Run(context.Background())))
	from.do("CONFIG SET notify-keyspace-events AE")
	m := redis.New(c)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	w := write(from)
	eventually(t, "followed", func() bool { return m.Progress().Commands > 500 })
	w.end()
	eventually(t, "deleted", func() bool {
		from.do("DEL list")
		return to.do("EXISTS list") == "0"
	})
	m.Cutover()
	require.NoError(t, <-ended)
	require.Empty(t, to.run("KEYS", "ferry:*").Array)
	r, err := redis.Compare(context.Background(), redis.CompareConfig{From: from.at, To: to.at})
	require.NoError(t, err)
	require.Zero(t, r.Differences, r)
}

package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/redis"
)

// TestCompare changes one thing at a time on the target and sees it found, and nothing else.
func TestCompare(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	from.run("SET", "long", strings.Repeat("x", 3<<20))
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true})
	compare := func() redis.Comparison {
		r, err := redis.Compare(context.Background(), redis.CompareConfig{From: from.at, To: to.at})
		require.NoError(t, err)
		return r
	}
	r := compare()
	require.Zero(t, r.Differences, r)
	require.EqualValues(t, 3067, r.Keys)
	changes := []string{ // each of one key more
		"DEL key:5", "SET another 1", "SETRANGE key:6 2 ?", "SETRANGE long 2999999 ?", "PERSIST soon", "PEXPIRE soon-hash 4990000",
		"LSET list 2999 ?", "HSET hash-small 0s 0", "HSET hash 0s 0", "SREM set 0s", "ZINCRBY zset 0.0000001 0s", "XTRIM stream MAXLEN 300",
		"XGROUP CREATE stream-empty group 0",
	}
	only := redis.Filter{DBs: []int{0}}
	compare = func() redis.Comparison {
		r, err := redis.Compare(context.Background(), redis.CompareConfig{From: from.at, To: to.at, Filter: only})
		require.NoError(t, err)
		return r
	}
	for i, change := range changes {
		to.do(change)
		r = compare()
		require.EqualValues(t, i+1, r.Differences, change)
	}
	to.do("RENAME key:7 list-small")
	r = compare()
	d := r.DBs[0]
	require.Equal(t, []int64{2, 1, 1, 2, 9}, []int64{d.Missing, d.Extra, d.Type, d.TTL, d.Value})
	require.Len(t, d.Sample, 5)
	only = redis.Filter{}
	require.Zero(t, compare().DBs[1].Differences())
}

// TestCompareRunning compares while a migration follows: what has not arrived yet is no difference.
func TestCompareRunning(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	m := redis.New(redis.Config{From: from.at, To: to.at, State: t.TempDir()})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	eventually(t, "followed", func() bool { return m.Progress().Phase == "follow" })
	w := write(from)
	eventually(t, "written", func() bool { return m.Progress().Commands > 100 })
	compared := make(chan redis.Comparison, 1)
	go func() {
		r, err := redis.Compare(context.Background(), redis.CompareConfig{From: from.at, To: to.at, Settle: 20 * time.Second})
		if err != nil {
			t.Error(err)
		}
		compared <- r
	}()
	w.end()
	r := <-compared
	require.Zero(t, r.Differences, r)
	m.Cutover()
	require.NoError(t, <-ended)
}

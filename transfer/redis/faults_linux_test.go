package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// TestMain runs the tests, or when a test started this binary as a migration to be killed, that migration.
func TestMain(m *testing.M) {
	if state := os.Getenv("FERRY_REDIS_STATE"); state != "" {
		os.Exit(child(state))
	}
	goleak.VerifyTestMain(m)
}

func child(state string) int {
	c := redis.New(redis.Config{
		From: resp.Endpoint{Network: "unix", Addrs: strings.Split(os.Getenv("FERRY_REDIS_FROM"), ",")}, State: state,
		To: resp.Endpoint{Network: "unix", Addrs: []string{os.Getenv("FERRY_REDIS_TO")}},
	})
	cut := make(chan os.Signal, 1)
	signal.Notify(cut, syscall.SIGUSR1)
	go func() {
		<-cut
		c.Cutover()
	}()
	if err := c.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("full", c.Progress().Full)
	return 0
}

// writer changes a server all the time in ways that show when a change is lost, repeated or in another order.
type writer struct {
	stop chan struct{}
	done sync.WaitGroup
	n    int
}

func write(i *instance) *writer {
	w := &writer{stop: make(chan struct{})}
	w.done.Go(func() {
		for seed := uint64(1); ; seed++ {
			select {
			case <-w.stop:
				return
			default:
			}
			if err := w.burst(i, rand.New(rand.NewPCG(seed, 2))); err != nil { // its server was killed
				time.Sleep(time.Millisecond)
			}
		}
	})
	return w
}

func (w *writer) burst(i *instance, r *rand.Rand) error {
	c, err := resp.Dial(context.Background(), i.at, resp.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for range 100 {
		key := fmt.Sprint("w", r.IntN(50))
		n := fmt.Sprint(w.n)
		commands := [][]string{{"SELECT", fmt.Sprint(r.IntN(3))}}
		switch r.IntN(7) {
		case 0:
			commands = append(commands, []string{"INCR", "counter"}, []string{"APPEND", "text" + key, n})
		case 1:
			commands = append(commands, []string{"MULTI"}, []string{"RPUSH", "log", n}, []string{"SELECT", "1"}, []string{"INCR", "counter"}, []string{"EXEC"})
		case 2:
			commands = append(commands, []string{"LPUSH", "list" + key, n, strings.Repeat("v", 500)}, []string{"LTRIM", "list" + key, "0", "20"})
		case 3:
			commands = append(commands, []string{"SET", key, n, "EX", "1000"}, []string{"DEL", fmt.Sprint("w", r.IntN(50))})
		case 4:
			commands = append(commands, []string{"EVAL", "redis.call('INCRBY', KEYS[1], 3); return redis.call('SADD', KEYS[2], ARGV[1])", "2", "counter", "set" + key, n})
		case 5:
			commands = append(commands, []string{"XADD", "stream", "MAXLEN", "100", "*", "n", n}, []string{"HINCRBY", "hash" + key, "f", "1"})
		case 6:
			commands = append(commands, []string{"ZINCRBY", "zset" + key, "1.5", "m" + n[len(n)-1:]}, []string{"SPOP", "set" + key})
		}
		if _, err := c.Pipeline(commands...); err != nil {
			return err
		}
		w.n++
	}
	return nil
}

func (w *writer) end() {
	close(w.stop)
	w.done.Wait()
}

// eventually waits for what has no event to wait for: the state of another process.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 5*time.Millisecond, what)
}

// start starts a migration as a process of its own.
func start(t *testing.T, state string, from, to *instance) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FERRY_REDIS_STATE="+state, "FERRY_REDIS_FROM="+from.at.Addrs[0], "FERRY_REDIS_TO="+to.at.Addrs[0])
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	return cmd
}

// replicas counts who follows a server and is past its snapshot.
func (i *instance) replicas() int { return strings.Count(i.do("INFO replication"), "state=online") }

// TestKills kills the migration and cuts its lines on either side, at random, under writes: nothing is lost, repeated or reordered.
func TestKills(t *testing.T) {
	rounds := 10
	if os.Getenv("FERRY_SOAK") != "" {
		rounds = 60
	}
	from, to := serve(t, "--repl-backlog-size", "64mb"), serve(t)
	from.fill()
	state := t.TempDir()
	w := write(from)
	cmd := start(t, state, from, to)
	r := rand.New(rand.NewPCG(1, 1))
	for round := range rounds {
		if round > 0 {
			eventually(t, "the migration follows", func() bool { return from.replicas() == 1 })
		}
		time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond) // a random moment, also in the full copy
		switch r.IntN(4) {
		case 0:
			from.do("CLIENT KILL TYPE replica")
		case 1:
			to.do("CLIENT KILL TYPE normal")
		default:
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait()
			cmd = start(t, state, from, to)
		}
	}
	w.end()
	eventually(t, "the migration follows", func() bool { return from.replicas() == 1 })
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
	require.NoError(t, cmd.Wait())
	same(t, from, to)
	require.NotEqual(t, "0", to.do("EXISTS counter"))
	t.Logf("%d bursts of writes, %s in the counter", w.n, to.do("GET counter"))
}

// TestCuts cuts the lines on either side many times while batches are under way.
func TestCuts(t *testing.T) {
	from, to := serve(t, "--repl-backlog-size", "64mb"), serve(t)
	m := redis.New(redis.Config{From: from.at, To: to.at, State: t.TempDir()})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	eventually(t, "followed", func() bool { return m.Progress().Phase == "follow" })
	w := write(from)
	for n := range 40 {
		sofar := m.Progress().Commands
		eventually(t, "it goes on", func() bool { return m.Progress().Commands > sofar+200 })
		if n%4 == 0 {
			from.do("CLIENT KILL TYPE replica")
		} else {
			to.do("CLIENT KILL TYPE normal")
		}
	}
	w.end()
	m.Cutover()
	require.NoError(t, <-ended)
	same(t, from, to)
	require.EqualValues(t, 1, m.Progress().Full)
}

// TestNoRetry ends a migration at the first break on either side when that was asked for, and continues it by another run.
func TestNoRetry(t *testing.T) {
	from, to := serve(t), serve(t)
	from.do("SET a 1")
	state := t.TempDir()
	for _, cut := range []func(){func() { from.do("CLIENT KILL TYPE replica") }, func() { to.do("CLIENT KILL TYPE normal") }} {
		m := redis.New(redis.Config{From: from.at, To: to.at, State: state, Retry: func() bool { return false }})
		ended := make(chan error, 1)
		go func() { ended <- m.Run(context.Background()) }()
		eventually(t, "followed", func() bool { return m.Progress().Phase == "follow" })
		v, err := m.Look(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, v.SourceKeys)
		require.GreaterOrEqual(t, v.TargetKeys, int64(1))
		cut()
		from.do("INCR a")
		require.Equal(t, fault.ClassTemporary, fault.ClassOf(<-ended))
	}
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true, State: state})
	same(t, from, to)
	require.Equal(t, "1", fullSyncs(from))
}

// TestIdle sees that the mark is gone while nothing happens, without any end, and that a run after a kill then continues all the same.
func TestIdle(t *testing.T) {
	from, to := serve(t), serve(t)
	from.do("SET a 1")
	state := t.TempDir()
	for n := range 2 {
		cmd := start(t, state, from, to)
		eventually(t, "followed", func() bool { return from.replicas() == 1 && to.do("EXISTS a") == "1" })
		from.do("INCR a")
		eventually(t, "equal without an end", func() bool { return from.do("DEBUG DIGEST") == to.do("DEBUG DIGEST") })
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		from.do("INCR a") // while nobody follows
		require.Equal(t, fmt.Sprint(1+2*n+1), to.do("GET a"))
	}
	require.Equal(t, "1", fullSyncs(from))
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true, State: state})
	same(t, from, to)
	require.Equal(t, "1", fullSyncs(from))
}

// fullSyncs is how many snapshots a server gave to replicas.
func fullSyncs(i *instance) string {
	_, rest, _ := strings.Cut(i.do("INFO stats"), "sync_full:")
	n, _, _ := strings.Cut(rest, "\r")
	return n
}

// TestTargetLost starts the target again, empty, while the source is followed, and while it is not.
func TestTargetLost(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	state := t.TempDir()
	m := redis.New(redis.Config{From: from.at, To: to.at, State: state})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	eventually(t, "followed", func() bool { return from.replicas() == 1 && m.Progress().Phase == "follow" })
	to.Kill()
	to.Restart()
	from.do("SET after restart")
	eventually(t, "copied again", func() bool { return to.do("EXISTS after") == "1" && m.Progress().Phase == "follow" })
	m.Cutover()
	require.NoError(t, <-ended)
	same(t, from, to)
	to.Kill()
	to.Restart()
	to.do("SET a theirs") // it is no longer the target that the state knows
	err := redis.New(redis.Config{From: from.at, To: to.at, Once: true, State: state}).Run(context.Background())
	require.Equal(t, "FERRY-REDIS-TARGET-NOT-EMPTY", fault.CodeOf(err))
	to.do("FLUSHALL")
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true, State: state})
	same(t, from, to)
}

// TestStaleKeys loses the source's history between two runs: the full copy that follows leaves no key behind that the source dropped.
func TestStaleKeys(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	state := t.TempDir()
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true, State: state})
	from.do("DEL list zset key:1")
	from.do("DEBUG CHANGE-REPL-ID")
	from.do("CONFIG SET repl-backlog-size 16384")
	from.run("SET", "new", strings.Repeat("x", 1<<20))
	m := migrate(t, redis.Config{From: from.at, To: to.at, Once: true, State: state})
	require.EqualValues(t, 1, m.Progress().Full)
	same(t, from, to)
}

// TestFailover promotes a replica of the source while it is followed: the stream is continued at the new master, without a new copy.
func TestFailover(t *testing.T) {
	old, to := serve(t), serve(t)
	port := old.port()
	next := serve(t)
	old.fill()
	next.do("REPLICAOF 127.0.0.1 " + port)
	eventually(t, "the replica is there", func() bool { return strings.Contains(next.do("INFO replication"), "master_link_status:up") })
	both := old.at
	both.Addrs = []string{old.at.Addrs[0], next.at.Addrs[0]}
	m := redis.New(redis.Config{From: both, To: to.at, State: t.TempDir()})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	eventually(t, "followed", func() bool { return m.Progress().Phase == "follow" })
	old.do("SET before failover")
	eventually(t, "both have it", func() bool { return to.do("EXISTS before") == "1" && next.do("EXISTS before") == "1" })
	old.Kill()
	next.do("REPLICAOF NO ONE")
	next.do("INCR after")
	eventually(t, "the new master is followed", func() bool { return to.do("GET after") == "1" })
	m.Cutover()
	require.NoError(t, <-ended)
	same(t, next, to)
	require.EqualValues(t, 1, m.Progress().Full)
}

// TestSentinel finds the source by its sentinel, and the new master after a failover.
func TestSentinel(t *testing.T) {
	old, to := serve(t), serve(t)
	port := old.port()
	next := serve(t)
	nextPort := next.port()
	old.fill()
	next.do("REPLICAOF 127.0.0.1 " + port)
	eventually(t, "the replica is there", func() bool { return strings.Contains(next.do("INFO replication"), "master_link_status:up") })
	own := freePort(t)
	guard := &instance{t: t, at: resp.Endpoint{Network: "tcp", Addrs: []string{"127.0.0.1:" + own}}}
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(config, []byte("port "+own+"\nsentinel monitor main 127.0.0.1 "+port+" 1\n"), 0o600))
	sentinel := exec.Command("redis-server", config, "--sentinel")
	require.NoError(t, sentinel.Start())
	t.Cleanup(func() {
		_ = sentinel.Process.Kill()
		_ = sentinel.Wait()
	})
	from, err := resp.ParseEndpoint("redis+sentinel://" + guard.at.Addrs[0] + "/main")
	require.NoError(t, err)
	m := redis.New(redis.Config{From: from, To: to.at, State: t.TempDir()})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	eventually(t, "followed", func() bool { return m.Progress().Phase == "follow" })
	old.do("SET before failover")
	eventually(t, "both have it", func() bool { return to.do("EXISTS before") == "1" && next.do("EXISTS before") == "1" })
	old.Kill()
	next.do("REPLICAOF NO ONE")
	// What it would decide itself, after ten seconds; in one go, so that the name is never unknown.
	_, err = guard.conn().Pipeline([]string{"SENTINEL", "REMOVE", "main"}, []string{"SENTINEL", "MONITOR", "main", "127.0.0.1", nextPort, "1"})
	require.NoError(t, err)
	next.do("INCR after")
	eventually(t, "the new master is followed", func() bool { return to.do("GET after") == "1" })
	m.Cutover()
	require.NoError(t, <-ended)
	same(t, next, to)
	require.EqualValues(t, 1, m.Progress().Full)
}

// TestCancel ends a migration that follows within a second, with nothing of ours left on the target.
func TestCancel(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	w := write(from)
	m := redis.New(redis.Config{From: from.at, To: to.at, State: t.TempDir()})
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	eventually(t, "followed", func() bool { return m.Progress().Commands > 100 })
	reason := errors.New("enough")
	cancel(reason)
	require.ErrorIs(t, <-ended, reason)
	w.end()
	require.Equal(t, "", to.do("GET ferry:checkpoint"))
	r := to.run("KEYS", "ferry:*")
	require.Empty(t, r.Array)
}

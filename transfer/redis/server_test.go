package redis_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lab "github.com/ferry-migrate/ferry/e2e/redis"
	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// instance is a redis-server of a test, reached by its socket.
type instance struct {
	*lab.Server
	t  testing.TB
	at resp.Endpoint
}

// serve starts a server; options are as on its command line. It ends with the test.
func serve(t testing.TB, options ...string) *instance {
	t.Helper()
	s := lab.Start(t, options...)
	return &instance{s, t, resp.Endpoint{Network: "unix", Addrs: []string{s.Socket}}}
}

// conn is a connection that ends with the test.
func (i *instance) conn() *resp.Conn {
	i.t.Helper()
	c, err := resp.Dial(context.Background(), i.at, resp.Options{})
	require.NoError(i.t, err)
	i.t.Cleanup(c.Close)
	return c
}

// do runs a command, words separated by spaces, and returns its text.
func (i *instance) do(line string) string {
	i.t.Helper()
	return i.run(strings.Fields(line)...).Text()
}

func (i *instance) run(args ...string) resp.Reply {
	i.t.Helper()
	c, err := resp.Dial(context.Background(), i.at, resp.Options{})
	require.NoError(i.t, err)
	defer c.Close()
	r, err := c.Do(args...)
	require.NoError(i.t, err)
	return r
}

// same checks that two servers hold the same, by Redis' own judgement.
func same(t testing.TB, a, b *instance) {
	t.Helper()
	require.Equal(t, a.do("DEBUG DIGEST"), b.do("DEBUG DIGEST"), "%s\n%s", a.do("INFO keyspace"), b.do("INFO keyspace"))
}

// fill gives a server every kind of value in every encoding, in three databases.
func (i *instance) fill() {
	i.t.Helper()
	c := i.conn()
	must := func(args ...string) {
		_, err := c.Do(args...)
		require.NoError(i.t, err)
	}
	long := strings.Repeat("0123456789", 10)
	many := func(command, key string, n int, each func(int) []string) {
		args := []string{command, key}
		for k := range n {
			args = append(args, each(k)...)
		}
		must(args...)
	}
	number := func(k int) string { return strings.Repeat("n", k%7) + time.Duration(k).String() }
	for db := range 3 {
		must("SELECT", string(rune('0'+db)))
		must("DEBUG", "POPULATE", "1000", "key", "100")
		must("SET", "int8", "-5")
		must("SET", "int16", "-3000")
		must("SET", "int32", "1234567890")
		must("SET", "int64", "1234567890123")
		must("SET", "empty", "")
		must("SET", "binary\r\n\x00", "\x00\xff\r\n")
		must("SET", "compressed", strings.Repeat(long, 300))
		must("SET", "soon", "x", "EX", "5000")
		must("HSET", "soon-hash", "a", "b")
		must("PEXPIREAT", "soon-hash", "1999999999999")
		many("RPUSH", "list-small", 20, func(k int) []string { return []string{number(k)} })
		many("RPUSH", "list", 3000, func(k int) []string { return []string{number(k) + long} })
		must("RPUSH", "list-plain", strings.Repeat(long, 200), "small", strings.Repeat("ab", 9000))
		many("SADD", "set-int", 100, func(k int) []string { return []string{time.Unix(int64(k*k*k), 0).Format("20060102150405")} })
		many("SADD", "set", 1000, func(k int) []string { return []string{number(k)} })
		many("ZADD", "zset-small", 50, func(k int) []string { return []string{"1.5", number(k)} })
		many("ZADD", "zset", 1000, func(k int) []string { return []string{"-0.1e-7", number(k)} })
		must("ZADD", "zset", "inf", "inf", "-inf", "minus", "3.14159265358979", "pi")
		many("HSET", "hash-small", 30, func(k int) []string { return []string{number(k), "-1"} })
		many("HSET", "hash", 1000, func(k int) []string { return []string{number(k), long} })
		must("XADD", "stream", "1-1", "a", "1", "b", "2")
		for k := range 300 {
			must("XADD", "stream", "*", "a", number(k), "b", long)
		}
		must("XADD", "stream", "*", "other", "1")
		must("XDEL", "stream", "1-1")
		must("XGROUP", "CREATE", "stream", "group", "0")
		must("XGROUP", "CREATECONSUMER", "stream", "group", "idle")
		must("XREADGROUP", "GROUP", "group", "reader", "COUNT", "7", "STREAMS", "stream", ">")
		must("XADD", "stream-empty", "5-5", "a", "b")
		must("XDEL", "stream-empty", "5-5")
		must("PFADD", "hyperloglog", "a", "b", "c")
		must("GEOADD", "geo", "13.361389", "38.115556", "Palermo")
	}
	must("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function(keys) return redis.call('INCR', keys[1]) end)")
}

// migrate runs a migration to its end.
func migrate(t testing.TB, c redis.Config) *redis.Migration {
	t.Helper()
	if c.State == "" {
		c.State = t.TempDir()
	}
	m := redis.New(c)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, m.Run(ctx))
	return m
}

// port is where the server takes connections, beside its socket.
func (i *instance) port() string {
	_, port, err := net.SplitHostPort(i.Addr)
	require.NoError(i.t, err)
	return port
}

// freePort is one that nobody listened on a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// eventuallyWithin is eventually for what takes long when FERRY_SOAK asks for more.
func eventuallyWithin(t testing.TB, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Minute, 20*time.Millisecond)
}

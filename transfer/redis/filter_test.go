package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// follow runs a migration until change, made while it follows, is on the target.
func follow(t *testing.T, c redis.Config, change func()) error {
	t.Helper()
	c.State, c.Log = t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil))
	m := redis.New(c)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(context.Background()) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Millisecond):
		}
		if m.Progress().Phase == "follow" {
			break
		}
	}
	change()
	m.Cutover()
	return <-ended
}

// TestFilter moves some keys of some databases to others, in the full copy and in the stream.
func TestFilter(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	f := redis.Filter{DBs: []int{0, 1}, MapDB: map[int]int{1: 7}, Include: []string{"key:?", "list*", "new*"}, Exclude: []string{"list-*"},
		Commands: []string{"publish"}}
	err := follow(t, redis.Config{From: from.at, To: to.at, Filter: f}, func() {
		c := from.conn()
		for _, line := range []string{
			"SELECT 1", "SET new 1", "SET other 1", "DEL key:1 set", "MSET new2 a other2 b new3 c", "RPUSH list end", "PUBLISH channel x",
			"SELECT 2", "SET new 1", "SELECT 0", "DEL key:2", "EVAL return(redis.call('set',KEYS[1],1)) 1 new-script",
			"XGROUP CREATE newstream g $ MKSTREAM", "XGROUP CREATE otherstream g $ MKSTREAM",
		} {
			_, err := c.Do(strings.Fields(line)...)
			require.NoError(t, err, line)
		}
	})
	require.NoError(t, err)
	keys := func(db string) int {
		r, err := to.conn().Pipeline([]string{"SELECT", db}, []string{"DBSIZE"})
		require.NoError(t, err)
		return int(r[1].Int)
	}
	require.Equal(t, 9+1+1+1, keys("0")) // key:0 to key:9 without key:2, list, new-script, newstream
	require.Equal(t, 9+1+3, keys("7"))   // key:0 to key:9 without key:1, list, new, new2, new3
	require.Zero(t, keys("1")+keys("2"))
	r, err := redis.Compare(context.Background(), redis.CompareConfig{From: from.at, To: to.at, Filter: f})
	require.NoError(t, err)
	require.Zero(t, r.Differences, r)

	to.do("FLUSHALL")
	err = follow(t, redis.Config{From: from.at, To: to.at, Filter: f}, func() { from.do("RENAME list other-list") })
	require.Equal(t, "FERRY-REDIS-COMMAND", fault.CodeOf(err), err)
}

// TestMapDB moves databases around, in the full copy and in the stream.
func TestMapDB(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	err := follow(t, redis.Config{From: from.at, To: to.at, Filter: redis.Filter{MapDB: map[int]int{0: 2, 1: 0, 2: 1}}}, func() { from.do("INCR after") })
	require.NoError(t, err)
	from.do("SWAPDB 0 1") // what was 1 is 0, what was 0 is 1
	from.do("SWAPDB 1 2") // and now 2
	same(t, from, to)
}

// TestExisting meets keys that the target has.
func TestExisting(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	c := redis.Config{From: from.at, To: to.at, Once: true}
	run := func(policy redis.Existing) error {
		to.do("FLUSHALL")
		to.do("SET key:1 theirs")
		to.do("SET foreign theirs")
		to.do("SET zset theirs")
		c.State, c.OnExisting = t.TempDir(), policy
		return redis.New(c).Run(context.Background())
	}
	require.Equal(t, "FERRY-REDIS-TARGET-NOT-EMPTY", fault.CodeOf(run("")))
	require.Equal(t, "FERRY-REDIS-KEY-EXISTS", fault.CodeOf(run(redis.Fail)))
	require.NoError(t, run(redis.Skip))
	require.Equal(t, "theirs", to.do("GET key:1"))
	require.Equal(t, "string", to.do("TYPE zset"))
	require.Equal(t, "list", to.do("TYPE list"))
	require.NoError(t, run(redis.Replace))
	require.Equal(t, "zset", to.do("TYPE zset"))
	to.do("DEL foreign")
	same(t, from, to)
}

// TestFlush empties the source while it is followed.
func TestFlush(t *testing.T) {
	for policy, left := range map[redis.FlushPolicy]string{redis.FlushApply: "2", redis.FlushSkip: "1024"} {
		from, to := serve(t), serve(t)
		from.do("DEBUG POPULATE 1022")
		err := follow(t, redis.Config{From: from.at, To: to.at, Filter: redis.Filter{Flush: policy}}, func() {
			from.do("FLUSHALL")
			from.do("MSET a 1 b 2")
		})
		require.NoError(t, err)
		require.Equal(t, left, to.do("DBSIZE"), policy)
	}
}

// TestRefused meets a target that is full, one that is a replica, and users who may not.
func TestRefused(t *testing.T) {
	from, to := serve(t), serve(t)
	from.run("SET", "large", strings.Repeat("x", 4<<20))
	c := redis.Config{From: from.at, To: to.at, Once: true, State: t.TempDir()}
	to.do("CONFIG SET maxmemory 2mb")
	err := redis.New(c).Run(context.Background())
	require.Equal(t, "FERRY-REDIS-TARGET-FULL", fault.CodeOf(err), err)
	to.do("CONFIG SET maxmemory 0")
	require.NoError(t, redis.New(c).Run(context.Background()))
	same(t, from, to)

	err = redis.New(redis.Config{From: from.at, To: from.at, State: t.TempDir(), OnExisting: redis.Replace}).Run(context.Background())
	require.Equal(t, "FERRY-REDIS-SAME", fault.CodeOf(err), err)

	from.do("ACL SETUSER reader on >secret +@read +ping ~*")
	from.do("ACL SETUSER copier on >secret +psync +replconf +ping +info +command ~*")
	c.From.User, c.From.Password = "reader", "wrong"
	require.Equal(t, "FERRY-REDIS-AUTH", fault.CodeOf(redis.New(c).Run(context.Background())))
	c.From.User, c.From.Password, c.State = "copier", "secret", t.TempDir()
	to.do("FLUSHALL")
	require.NoError(t, redis.New(c).Run(context.Background()))
	same(t, from, to)
	from.do("ACL SETUSER copier -psync")
	c.State = t.TempDir()
	to.do("FLUSHALL")
	require.Equal(t, "FERRY-REDIS-PSYNC", fault.CodeOf(redis.New(c).Run(context.Background())))
	to.do("REPLICAOF 127.0.0.1 " + from.port())
	c.From = from.at
	require.Equal(t, "FERRY-REDIS-TARGET-REPLICA", fault.CodeOf(redis.New(c).Run(context.Background())))
}

// TestLimit holds the source's side to a rate: 2 MiB of it cannot take less than a second at 2 MiB/s.
func TestLimit(t *testing.T) {
	from, to := serve(t, "--rdbcompression", "no"), serve(t)
	from.run("SET", "large", strings.Repeat("x", 2<<20))
	limit, err := ratelimit.ParseLimit("2MiB")
	require.NoError(t, err)
	began := time.Now()
	migrate(t, redis.Config{From: from.at, To: to.at, Once: true, Limiter: ratelimit.NewBucket(limit)})
	require.Greater(t, time.Since(began), 900*time.Millisecond)
	same(t, from, to)
}

// TestTLS speaks TLS to both sides and trusts only the authority that was named.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, key := certificate(t, dir)
	options := func() (port string, args []string) {
		port = freePort(t)
		return port, []string{"--tls-port", port, "--tls-cert-file", ca, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no"}
	}
	port, args := options()
	from := serve(t, args...)
	from.fill()
	toPort, args := options()
	to := serve(t, args...)
	parse := func(url string) resp.Endpoint {
		e, err := resp.ParseEndpoint(url)
		require.NoError(t, err)
		return e
	}
	c := redis.Config{From: parse("rediss://127.0.0.1:" + port), To: parse("rediss://127.0.0.1:" + toPort + "?ca=" + ca), Once: true, State: t.TempDir()}
	require.Equal(t, "FERRY-REDIS-TLS", fault.CodeOf(redis.New(c).Run(context.Background())))
	c.From = parse("rediss://127.0.0.1:" + port + "?ca=" + ca)
	require.NoError(t, redis.New(c).Run(context.Background()))
	same(t, from, to)
}

// certificate writes a certificate for loopback that is its own authority.
func certificate(t *testing.T, dir string) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
	_, err = tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	return cert, key
}

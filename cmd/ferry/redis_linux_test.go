package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/redis"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// redisServer starts a redis-server of its own and returns its URL and a connection to it.
func redisServer(t *testing.T) (string, *resp.Conn) {
	t.Helper()
	s := redis.Start(t)
	return "unix://" + s.Socket, s.Dial()
}

// TestRedis migrates, compares and imports by command line.
func TestRedis(t *testing.T) {
	from, source := redisServer(t)
	to, target := redisServer(t)
	state := t.TempDir()
	do := func(c *resp.Conn, line string) string {
		r, err := c.Do(strings.Fields(line)...)
		require.NoError(t, err)
		return r.Text()
	}
	ferry := func(args ...string) (result map[string]any, err error) {
		var out, errs bytes.Buffer
		err = run(context.Background(), append([]string{"redis"}, args...), &out, &errs)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if jsonErr := json.Unmarshal([]byte(lines[len(lines)-1]), &result); jsonErr != nil {
			result = map[string]any{"text": out.String()}
		}
		return result, err
	}
	do(source, "MSET a 1 b 2 session:1 x")
	file := filepath.Join(state, "url")
	require.NoError(t, os.WriteFile(file, []byte(to+"\n"), 0o600))
	r, err := ferry("migrate", "--from", from, "--to", "@"+file, "--once", "--json", "--state", state, "--exclude", "session:*")
	require.NoError(t, err)
	require.Equal(t, []any{true, "first", 3.0, 1.0}, []any{r["ok"], r["pass"], r["keys"], r["filtered"]})
	require.Equal(t, "2", do(target, "DBSIZE"))

	do(source, "INCR a")
	r, err = ferry("compare", "--from", from, "--to", to, "--json", "--exclude", "session:*")
	require.Equal(t, exitDifferent, exitCode(err))
	require.EqualValues(t, 1, r["differences"])
	r, err = ferry("migrate", "--from", from, "--to", to, "--once", "--state", state, "--exclude", "session:*")
	require.NoError(t, err)
	require.Contains(t, r["text"], "Done: 0 keys and 1 commands")
	r, err = ferry("compare", "--from", from, "--to", to, "--exclude", "session:*")
	require.NoError(t, err)
	require.Contains(t, r["text"], "0 differ")

	r, err = ferry("compare", "--from", from, "--to", to)
	require.Equal(t, exitDifferent, exitCode(err))
	require.Contains(t, r["text"], `"session:1" missing on the target`)

	do(source, "SAVE")
	dir := filepath.Dir(strings.TrimPrefix(from, "unix://"))
	r, err = ferry("import", filepath.Join(dir, "dump.rdb"), "--to", to, "--json", "--state", state)
	require.Equal(t, "FERRY-REDIS-TARGET-NOT-EMPTY", fault.CodeOf(err))
	require.Equal(t, "FERRY-REDIS-TARGET-NOT-EMPTY", r["code"])
	_, err = ferry("import", filepath.Join(dir, "dump.rdb"), "--to", to, "--json", "--state", state, "--on-existing", "skip")
	require.NoError(t, err)
	require.Equal(t, "3", do(target, "DBSIZE"))
	store := httptest.NewServer(http.StripPrefix("/bucket", http.FileServer(http.Dir(dir))))
	defer store.Close()
	do(target, "FLUSHALL")
	_, err = ferry("import", "s3://bucket/dump.rdb", "--s3-endpoint", store.URL, "--to", to, "--json", "--state", state)
	require.NoError(t, err)
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, do(source, "DBSIZE"), do(target, "DBSIZE"))
}

func TestRedisUsage(t *testing.T) {
	t.Setenv("FERRY_REDIS_FROM", "")
	t.Setenv("FERRY_REDIS_TO", "")
	for _, line := range []string{
		"", "migrate", "migrate --from redis://a", "migrate --from a --to redis://b", "migrate x --from redis://a --to redis://b",
		"migrate --from redis://a --to redis://b --on-existing maybe", "migrate --from redis://a --to redis://b --flush maybe",
		"migrate --from redis://a --to redis://b --map-db 1", "migrate --from redis://a --to @/missing", "import --to redis://b", "compare",
		"migrate --from redis://a --to redis://b --limit fast",
	} {
		err := run(context.Background(), append([]string{"redis"}, strings.Fields(line)...), &bytes.Buffer{}, &bytes.Buffer{})
		require.Equal(t, exitUsage, exitCode(err), "%q: %v", line, err)
	}
}

package redis_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

func load(t *testing.T, to *instance, files ...string) (*redis.Migration, error) {
	t.Helper()
	m := redis.New(redis.Config{To: to.at, State: t.TempDir()})
	return m, m.Import(context.Background(), files)
}

// TestImportSnapshot puts a snapshot on a target, from a path and from a URL.
func TestImportSnapshot(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	from.do("SAVE")
	_, err := load(t, to, filepath.Join(from.Dir, "dump.rdb"))
	require.NoError(t, err)
	same(t, from, to)
	to.do("FLUSHALL")
	web := httptest.NewServer(http.FileServer(http.Dir(from.Dir)))
	defer web.Close()
	_, err = load(t, to, web.URL+"/dump.rdb")
	require.NoError(t, err)
	same(t, from, to)
	http.DefaultClient.CloseIdleConnections()
	_, err = load(t, to, filepath.Join(from.Dir, "dump.rdb"))
	require.Equal(t, "FERRY-REDIS-TARGET-NOT-EMPTY", fault.CodeOf(err))
	to.do("FLUSHALL")
	_, err = load(t, to, web.URL+"/missing.rdb")
	require.Equal(t, "FERRY-REDIS-FILE", fault.CodeOf(err))
	http.DefaultClient.CloseIdleConnections()
}

// objects is a small object store: it hands out what lies in a directory to those who sign for it with the key, and what is public.
func objects(t *testing.T, dir string, failures int) *httptest.Server {
	files := http.StripPrefix("/bucket", http.FileServer(http.Dir(dir)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := r.Header.Get("Authorization")
		switch {
		case failures > 0:
			failures--
			w.WriteHeader(http.StatusServiceUnavailable)
		case !strings.HasPrefix(signed, "AWS4-HMAC-SHA256 Credential=AK/") || !strings.Contains(signed, "/region/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,"):
			w.WriteHeader(http.StatusForbidden)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	return s
}

// TestImportObject puts a snapshot out of an object store on a target.
func TestImportObject(t *testing.T) {
	from, to := serve(t), serve(t)
	from.fill()
	from.do("SAVE")
	store := objects(t, from.Dir, 1)
	bring := func(o *redis.ObjectStore, file string) error {
		return redis.New(redis.Config{To: to.at, State: t.TempDir(), Objects: o}).Import(context.Background(), []string{file})
	}
	key := &redis.ObjectStore{Endpoint: store.URL, Region: "region", AccessKey: "AK", SecretKey: "SK"}
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(bring(key, "s3://bucket/dump.rdb")), "a busy store")
	require.NoError(t, bring(key, "s3://bucket/dump.rdb"))
	same(t, from, to)
	to.do("FLUSHALL")
	require.Equal(t, "FERRY-REDIS-FILE", fault.CodeOf(bring(key, "s3://bucket/other.rdb")))
	require.Equal(t, "FERRY-REDIS-FILE", fault.CodeOf(bring(&redis.ObjectStore{Endpoint: store.URL}, "s3://bucket/dump.rdb")))
	require.Equal(t, "FERRY-REDIS-OBJECTS", fault.CodeOf(bring(nil, "s3://bucket/dump.rdb")))
	err := bring(nil, store.URL+"/bucket/dump.rdb?X-Amz-Signature=secret")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
	require.Equal(t, "0", to.do("DBSIZE"), "what could not be read left nothing")
}

// TestImportAppendOnly puts an append-only file in several parts on a target, whole and cut off.
func TestImportAppendOnly(t *testing.T) {
	from, to := serve(t, "--appendonly", "yes"), serve(t)
	from.fill()
	from.do("BGREWRITEAOF")
	dir := filepath.Join(from.Dir, "appendonlydir")
	manifest := filepath.Join(dir, "appendonly.aof.manifest")
	eventually(t, "rewritten", func() bool {
		text, err := os.ReadFile(manifest)
		return err == nil && strings.Contains(string(text), ".2.base.rdb") && !strings.Contains(string(text), "type h")
	})
	w := write(from)
	eventually(t, "written", func() bool { return from.do("EXISTS counter log") == "2" })
	w.end()
	from.Kill()
	_, err := load(t, to, manifest)
	require.NoError(t, err)
	parts, err := filepath.Glob(filepath.Join(dir, "*.incr.aof"))
	require.NoError(t, err)
	require.Len(t, parts, 1)
	from.Restart("--appendonly", "yes")
	same(t, from, to)

	from.Kill()
	f, err := os.OpenFile(parts[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$4\r\nINCR\r\n$5\r\nwhole\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n*2\r\n$4\r\nIN")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	to.do("FLUSHALL")
	m, err := load(t, to, manifest)
	require.NoError(t, err)
	require.Len(t, m.Progress().Losses, 1)
	from.Restart("--appendonly", "yes")
	require.Equal(t, "1", to.do("GET whole"))
	same(t, from, to)
}

package consistent

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the database that is copied while it is written

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// binary is ferry as it is shipped; FERRY_BINARY names one that is already built.
var binary = os.Getenv("FERRY_BINARY")

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ferry-consistent-")
	if err == nil && binary == "" {
		binary = filepath.Join(dir, "ferry")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "../../cmd/ferry")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// result is the last event of a migration.
type result struct {
	OK            bool
	Consistent    string
	FrozenSeconds float64 `json:"frozen_seconds"`
	BytesRead     int64   `json:"bytes_read"`
	Files         int64
	Code          *string
}

// migrate runs ferry migrate with its state beside the target.
func migrate(t *testing.T, source, target, state string, args ...string) (r result) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"migrate", source, "--to", target, "--state", state, "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	require.NoError(t, json.Unmarshal(lines[len(lines)-1], &r), "%s", out)
	require.Equal(t, err == nil, r.OK)
	if !r.OK {
		t.Logf("%s", stderr.Bytes())
	}
	return r
}

// writers write to a directory until they are stopped.
type writers struct {
	committed atomic.Int64 // rows
	counted   atomic.Int64 // writes to the second file
	stop      chan struct{}
	running   sync.WaitGroup
	once      sync.Once
}

func (w *writers) end() {
	w.once.Do(func() { close(w.stop) })
	w.running.Wait()
}

// startWriters begins to fill a database, and to write counters into two files, first the one and then the other.
func startWriters(t *testing.T, dir string) *writers {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t (text)")
	require.NoError(t, err)
	first, err := os.Create(filepath.Join(dir, "a-first"))
	require.NoError(t, err)
	second, err := os.Create(filepath.Join(dir, "z-second"))
	require.NoError(t, err)
	w := &writers{stop: make(chan struct{})}
	t.Cleanup(w.end)
	w.running.Add(2)
	run := func(step func(n int64) error, done func()) {
		defer w.running.Done()
		defer done()
		pace := time.NewTicker(500 * time.Microsecond) // others need the processors
		defer pace.Stop()
		for n := int64(1); ; n++ {
			select {
			case <-w.stop:
				return
			case <-pace.C:
			}
			if err := step(n); err != nil {
				t.Error(err)
				return
			}
		}
	}
	go run(func(n int64) error {
		if _, err := db.Exec("INSERT INTO t VALUES (?, ?)", n, fmt.Sprintf("%0200d", n*7919%1000003)); err != nil {
			return err
		}
		w.committed.Store(n)
		return nil
	}, func() { db.Close() })
	go run(func(n int64) error {
		line := fmt.Appendf(nil, "%020d", n)
		if _, err := first.WriteAt(line, 0); err != nil {
			return err
		}
		_, err := second.WriteAt(line, 0)
		w.counted.Store(n)
		return err
	}, func() { first.Close(); second.Close() })
	require.Eventually(t, func() bool { return w.committed.Load() > 50 && w.counted.Load() > 0 }, time.Minute, time.Millisecond)
	return w
}

// judge fails the test unless dir is one instant of what writers wrote, in the order of the writes if ordered, with at least the rows that were committed before.
func judge(t *testing.T, dir string, ordered bool, before, after int64) {
	t.Helper()
	counter := func(name string) int64 {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		n, err := strconv.ParseInt(string(text), 10, 64)
		require.NoError(t, err)
		return n
	}
	first, second := counter("a-first"), counter("z-second")
	if ordered {
		require.Contains(t, []int64{second, second + 1}, first, "two files that are one write apart")
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "db"))
	require.NoError(t, err)
	defer db.Close()
	var check string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&check))
	require.Equal(t, "ok", check)
	var rows, last int64
	require.NoError(t, db.QueryRow("SELECT count(*), max(n) FROM t").Scan(&rows, &last))
	require.Equal(t, rows, last)
	require.GreaterOrEqual(t, last, before)
	require.LessOrEqual(t, last, after+1)
	t.Logf("rows %d, committed %d before the migration and %d after; files %d and %d", last, before, after, first, second)
}

// notFrozen fails the test if something is frozen, or a snapshot is left.
func notFrozen(t *testing.T, mnt string) {
	t.Helper()
	const fiThaw = 0xc0045878
	fd, err := unix.Open(mnt, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.Equal(t, unix.EINVAL, unix.IoctlSetInt(fd, fiThaw, 0))
	left, err := filepath.Glob(filepath.Join(mnt, ".ferry-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// A directory that is written to all the while is copied as it was at one instant.
func TestDirectory(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct{ name, fs, mode string }{
		{"freeze/ext4", "ext4", "freeze"}, {"freeze/xfs", "xfs", "freeze"}, {"freeze/btrfs", "btrfs", "freeze"},
		{"snapshot/btrfs", "btrfs", "btrfs"}, {"auto/btrfs", "btrfs", "auto"}, {"auto/ext4", "ext4", "auto"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mnt, target := lab.Mount(t, c.fs, 192<<20), t.TempDir()
			source := filepath.Join(mnt, "data")
			require.NoError(t, os.Mkdir(source, 0o755))
			w := startWriters(t, source)
			before := w.committed.Load()
			r := migrate(t, source, "dir:"+target, t.TempDir(), "--snapshot", c.mode, "--before-freeze", "true")
			w.end()
			require.True(t, r.OK)
			require.Equal(t, "application", r.Consistent)
			require.Equal(t, c.mode == "freeze" || c.name == "auto/ext4", r.FrozenSeconds > 0)
			t.Logf("frozen for %.3fs", r.FrozenSeconds)
			judge(t, target, r.FrozenSeconds > 0, before, w.committed.Load()) // a Btrfs snapshot is as after a power cut
			notFrozen(t, mnt)
		})
	}
}

// A Btrfs snapshot has the inodes of its source: going from one to the other reads nothing again.
func TestSnapshotKeepsIdentity(t *testing.T) {
	mnt, target, state := lab.Mount(t, "btrfs", 192<<20), t.TempDir(), t.TempDir()
	for i := range 50 {
		require.NoError(t, os.WriteFile(filepath.Join(mnt, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, 10000*i), 0o600))
	}
	require.NoError(t, unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil)) // a change is told from its pass by a clock tick
	first := migrate(t, mnt, "dir:"+target, state, "--snapshot", "btrfs")
	require.True(t, first.OK)
	require.Equal(t, "crash", first.Consistent)
	require.Positive(t, first.BytesRead)
	for i, mode := range []string{"none", "btrfs", "btrfs", "none", "freeze"} {
		changed := filepath.Join(mnt, fmt.Sprint(i))
		require.NoError(t, os.WriteFile(changed, []byte(mode), 0o600))
		require.NoError(t, unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil))
		r := migrate(t, mnt, "dir:"+target, state, "--snapshot", mode)
		require.True(t, r.OK)
		require.Equal(t, first.Files, r.Files)
		require.Equal(t, int64(len(mode)), r.BytesRead, "what was read besides the changed file")
		text, err := os.ReadFile(filepath.Join(target, fmt.Sprint(i)))
		require.NoError(t, err)
		require.Equal(t, mode, string(text))
	}
	notFrozen(t, mnt)
}

// What cannot be is refused before anything is copied.
func TestRefused(t *testing.T) {
	mnt := lab.Mount(t, "ext4", 64<<20)
	source := filepath.Join(mnt, "data")
	require.NoError(t, os.Mkdir(source, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(source, "file"), []byte("content"), 0o600))
	for _, c := range []struct{ mode, state, code string }{
		{"freeze", filepath.Join(mnt, "state"), "FERRY-FREEZE-OWN"},
		{"btrfs", t.TempDir(), "FERRY-SNAPSHOT-KIND"},
		{"lvm", t.TempDir(), "FERRY-SNAPSHOT-KIND"},
	} {
		target := t.TempDir()
		r := migrate(t, source, "dir:"+target, c.state, "--snapshot", c.mode)
		require.False(t, r.OK)
		require.NotNil(t, r.Code)
		require.Equal(t, c.code, *r.Code)
		require.NoFileExists(t, filepath.Join(target, "file"))
	}
	notFrozen(t, mnt)
}

package source_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a source and a target directory, and what both remember.
type pair struct {
	t        testing.TB
	src, dst string
	state    string
	cfg      source.Config
}

func newPair(t testing.TB) *pair {
	base := t.TempDir()
	p := &pair{t: t, src: filepath.Join(base, "src"), dst: filepath.Join(base, "dst"), state: filepath.Join(base, "state")}
	require.NoError(t, os.Mkdir(p.src, 0o755))
	p.cfg = source.Config{
		Root: p.src, State: p.state, Software: "test", Streams: 3, Compress: codec.Fixed(codec.Fast), Delete: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), MoreToCome: func() bool { return false },
	}
	if testing.Verbose() {
		p.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return p
}

// run does one migration over an in-process connection.
func (p *pair) run() (*source.Result, error) {
	ctx, cancel := context.WithCancel(context.Background())
	counters := &wire.Counters{}
	l, dial := wire.Local(wire.Options{Counters: counters})
	r := &target.Receiver{Root: p.dst, State: filepath.Join(p.state, "target"), Log: p.cfg.Log}
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	p.cfg.Dial, p.cfg.Counters = dial, counters
	result, err := source.Run(ctx, &p.cfg, &source.Counters{})
	cancel()
	l.Close()
	require.NoError(p.t, <-served)
	return result, err
}

func (p *pair) mustRun() *source.Result {
	p.t.Helper()
	r, err := p.run()
	require.NoError(p.t, err)
	require.Zero(p.t, r.Differences, r.Differ)
	require.Empty(p.t, r.Losses)
	p.equal()
	return r
}

// equal has rsync compare both trees.
func (p *pair) equal() {
	p.t.Helper()
	out, err := exec.Command("rsync", "-aHAXn", "--delete", "--itemize-changes", "--checksum", p.src+"/", p.dst+"/").CombinedOutput()
	require.NoError(p.t, err, string(out))
	require.Empty(p.t, string(out))
}

func (p *pair) write(name string, size int) {
	p.t.Helper()
	path := filepath.Join(p.src, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	require.NoError(p.t, os.WriteFile(path, data, 0o644))
}

// settle lets the clock move on by more than a tick, so that what was written before is older than the next pass.
func (p *pair) settle() { <-time.After(50 * time.Millisecond) }

func (p *pair) tree() {
	for i := range 1500 {
		p.write(fmt.Sprintf("small/%d/f%d", i%20, i), i%9000)
	}
	p.write("empty", 0)
	p.write("one", 64<<10)
	p.write("over", 64<<10+1)
	p.write("mid", 300<<10+17)
	p.write("large", 5<<20+3)
	require.NoError(p.t, os.MkdirAll(filepath.Join(p.src, "a/b/c"), 0o700))
	require.NoError(p.t, os.Symlink("nowhere", filepath.Join(p.src, "a/link")))
	for i := range 3 {
		require.NoError(p.t, os.Link(filepath.Join(p.src, "mid"), filepath.Join(p.src, fmt.Sprintf("a/hard%d", i))))
	}
	f, err := os.Create(filepath.Join(p.src, "sparse"))
	require.NoError(p.t, err)
	_, err = f.WriteAt([]byte("x"), 3<<20+5000)
	require.NoError(p.t, err)
	require.NoError(p.t, f.Truncate(9<<20))
	require.NoError(p.t, f.Close())
}

func TestFirstThenNothingThenChanges(t *testing.T) {
	p := newPair(t)
	p.tree()
	p.settle()
	first := p.mustRun()
	require.Equal(t, "first", first.Pass)

	again := p.mustRun()
	require.Equal(t, "sync", again.Pass)
	require.Zero(t, again.BytesRead)
	require.Equal(t, again.Bytes, again.BytesSaved)

	p.write("small/3/f23", 100)
	p.write("new/dir/file", 70<<10)
	f, err := os.OpenFile(filepath.Join(p.src, "large"), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("changed"), 2<<20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(p.src, "small/7")))
	require.NoError(t, os.Rename(filepath.Join(p.src, "one"), filepath.Join(p.src, "zero")))
	require.NoError(t, os.Rename(filepath.Join(p.src, "small/8"), filepath.Join(p.src, "moved")))
	r := p.mustRun()
	require.Less(t, r.BytesRaw, int64(400<<10))
}

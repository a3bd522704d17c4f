package block_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// pair is a source image and a target image with a receiver between them.
type pair struct {
	t        *testing.T
	cfg      *block.Config
	from, to string
	count    block.Counters
}

func newPair(t *testing.T, content []byte) *pair {
	t.Helper()
	dir := t.TempDir()
	p := &pair{t: t, from: filepath.Join(dir, "from"), to: filepath.Join(dir, "to")}
	require.NoError(t, os.WriteFile(p.from, content, 0o600))
	p.cfg = &block.Config{
		Path: p.from, State: filepath.Join(dir, "state"), Streams: 2, Compress: codec.Fixed(codec.Off), Log: slog.New(slog.DiscardHandler),
		MoreToCome: func() bool { return true }, Still: func(snapshot.Report) {}, Watch: &block.Watch{},
	}
	return p
}

// receive starts a receiver; stop ends it.
func (p *pair) receive() (stop func()) {
	listener, dial := wire.Local(wire.Options{})
	p.cfg.Dial = dial
	r := &block.Receiver{Path: p.to, State: filepath.Join(filepath.Dir(p.to), "target"), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, listener) }()
	return func() {
		cancel()
		require.NoError(p.t, listener.Close())
		require.NoError(p.t, <-done)
	}
}

// run does one pass with a receiver of its own.
func (p *pair) run() *source.Result {
	p.t.Helper()
	defer p.receive()()
	r, err := block.Run(context.Background(), p.cfg, &p.count)
	require.NoError(p.t, err)
	return r
}

func (p *pair) equal() {
	p.t.Helper()
	a, err := os.ReadFile(p.from)
	require.NoError(p.t, err)
	b, err := os.ReadFile(p.to)
	require.NoError(p.t, err)
	require.True(p.t, bytes.Equal(a, b), "source and target are the same")
}

func (p *pair) write(path string, off int64, b []byte) {
	p.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(p.t, err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	require.NoError(p.t, err)
}

// noise is content without any structure that allocmap knows: all of it is in use.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestCopySyncVerify(t *testing.T) {
	content := noise(10*chunk.Size*16 + 1000)
	clear(content[40*chunk.Size : 70*chunk.Size])
	p := newPair(t, content)
	r := p.run()
	require.Equal(t, "first", r.Pass)
	require.Zero(t, r.Differences)
	require.EqualValues(t, len(content), r.Bytes)
	p.equal()

	r = p.run()
	require.Equal(t, "sync", r.Pass)
	require.Zero(t, r.BytesRaw, "nothing changed, nothing is sent")
	require.Equal(t, r.Bytes, r.BytesSaved)

	p.write(p.from, 5*chunk.Size+77, []byte("changed"))
	p.write(p.from, int64(len(content))-3, []byte("end"))
	p.write(p.from, 90*chunk.Size, make([]byte, chunk.Size))
	r = p.run()
	require.Less(t, r.BytesRaw, int64(3*chunk.Size))
	p.equal()
}

func TestFindsWhatSomebodyChanged(t *testing.T) {
	p := newPair(t, noise(100*chunk.Size))
	p.run()
	p.write(p.to, 7*chunk.Size+5, []byte{0, 1, 2, 3})
	stop := p.receive()
	r, err := block.Compare(context.Background(), p.cfg, &p.count)
	require.NoError(t, err)
	stop()
	require.EqualValues(t, 1, r.Differences)
	require.Equal(t, []string{"bytes 458752 to 524287"}, r.Differ)

	r = p.run() // the image says that it was written: everything is compared, and one chunk sent
	require.Less(t, r.BytesRaw, int64(2*chunk.Size))
	p.equal()
}

func TestRefusesForeignData(t *testing.T) {
	p := newPair(t, noise(10*chunk.Size))
	require.NoError(t, os.WriteFile(p.to, noise(10*chunk.Size), 0o600))
	stop := p.receive()
	defer stop()
	_, err := block.Run(context.Background(), p.cfg, &p.count)
	require.Equal(t, "FERRY-TARGET-NOT-EMPTY", fault.CodeOf(err))
	p.cfg.Overwrite = true
	_, err = block.Run(context.Background(), p.cfg, &p.count)
	require.NoError(t, err)
	p.equal()
}

package block

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/track"
)

// TestLive copies a mounted ext4, with FERRY_SOAK also XFS and Btrfs, under a writer that numbers what it has synced. The copy is sound for the filesystem's own tools
// without replaying more than its log, holds one instant, and that lies between begin and end of the run.
func TestLive(t *testing.T) {
	for _, k := range kinds {
		if k.name == "ext4-1k" || k.name != "ext4" && os.Getenv("FERRY_SOAK") == "" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			source := attachForTest(t, k.image(t))
			needTracker(t, source)
			target := filepath.Join(t.TempDir(), "copy.img")
			var begun, ended int
			mounted(t, source, func(dir string) {
				age(t, dir, 1, 40<<20)
				w := write(t, dir)
				begun = w.wait(3)
				r := good(t, "migrate", source, "--to", "image:"+target, "--state", state(t))
				ended = w.stop()
				require.Equal(t, "filesystem", r.Consistent)
				require.Zero(t, r.Differences)
			})
			loop := attachForTest(t, target)
			mounted(t, loop, func(dir string) {
				n := reached(t, dir)
				require.GreaterOrEqual(t, n, begun)
				require.LessOrEqual(t, n, ended)
				for i := max(1, n-40); i <= n; i++ { // each of the last is whole
					b, err := os.ReadFile(filepath.Join(dir, "w"+strconv.Itoa(i%50)))
					require.NoError(t, err)
					require.Len(t, b, i%50*3000)
				}
			})
			tool(t, append(k.judge, loop)...)
		})
	}
}

// attachForTest makes a loop device that lasts as long as the test.
func attachForTest(t *testing.T, image string) string {
	t.Helper()
	loop := attach(t, image)
	t.Cleanup(func() { tool(t, "losetup", "-d", loop) })
	return loop
}

// needTracker skips a test where the kernel does not tell what is written.
func needTracker(t *testing.T, device string) {
	t.Helper()
	k, err := track.Open(t.Context(), track.Options{Device: device})
	if err != nil {
		t.Skip(err)
	}
	require.NoError(t, k.Close())
}

// writer numbers files that it writes and syncs, until it is stopped.
type writer struct {
	t       *testing.T
	dir     string
	end     chan struct{}
	done    chan error
	written chan int
	last    int
}

func write(t *testing.T, dir string) *writer {
	w := &writer{t: t, dir: dir, end: make(chan struct{}), done: make(chan error, 1), written: make(chan int)}
	go func() { w.done <- w.run() }()
	return w
}

func (w *writer) run() error {
	defer close(w.written)
	for i := 1; ; i++ {
		content := strings.Repeat("x", i%50*3000)
		if err := synced(filepath.Join(w.dir, "w"+strconv.Itoa(i%50)), content); err != nil {
			return err
		}
		if err := synced(filepath.Join(w.dir, "reached"), strconv.Itoa(i)); err != nil {
			return err
		}
		select {
		case w.written <- i:
		case <-w.end:
			w.last = i
			return nil
		default:
			w.last = i
		}
	}
}

// synced replaces a file.
func synced(name, content string) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := unix.Fsync(int(f.Fd())); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// wait returns a number that was reached, n at least.
func (w *writer) wait(n int) int {
	for i := range w.written {
		if i >= n {
			return i
		}
	}
	w.t.Fatal(<-w.done)
	return 0
}

// stop ends the writer and returns the last number.
func (w *writer) stop() int {
	w.t.Helper()
	close(w.end)
	require.NoError(w.t, <-w.done)
	return w.last
}

func reached(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "reached"))
	require.NoError(t, err)
	n, err := strconv.Atoi(string(b))
	require.NoError(t, err)
	return n
}

// TestSyncUntilCutover keeps a mounted filesystem in step: passes read what the kernel saw written, and the cutover ends them.
func TestSyncUntilCutover(t *testing.T) {
	lab.NeedRoot(t)
	k := kinds[0]
	source := attachForTest(t, k.image(t))
	needTracker(t, source)
	target, dir := filepath.Join(t.TempDir(), "copy.img"), state(t)
	mounted(t, source, func(mnt string) {
		age(t, mnt, 1, 40<<20)
		p := begin(t, nil, "migrate", source, "--to", "image:"+target, "--state", dir, "--sync", "--interval", "100ms")
		p.passes(t, 2)
		age(t, mnt, 3, 2<<20)
		require.NoError(t, p.cmd.Process.Signal(unix.SIGUSR1))
		r := p.wait(t)
		require.Zero(t, r.exit, r.stderr)
		require.Equal(t, "filesystem", r.Consistent)
	})
	var want, got map[string]string
	mounted(t, source, func(dir string) { want = hashes(t, dir) })
	mounted(t, target, func(dir string) { got = hashes(t, dir) })
	require.Equal(t, want, got)
}

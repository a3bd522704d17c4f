package snapshot

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/internal/fault"
)

var quiet = slog.New(slog.DiscardHandler)

// noSnapshot fails the test if a snapshot, or a note of one, is left.
func noSnapshot(t *testing.T, mnt, dir string) {
	t.Helper()
	for _, pattern := range []string{filepath.Join(mnt, ".ferry-snapshot-*"), filepath.Join(dir, "*")} {
		left, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// A Btrfs snapshot stands still, cannot be written, and goes.
func TestBtrfs(t *testing.T) {
	mnt, dir := mount(t, "btrfs"), t.TempDir()
	root := filepath.Join(mnt, "a", "b")
	require.NoError(t, os.MkdirAll(root, 0o755))
	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
	s, err := Btrfs(dir, quiet).Snapshot(t.Context(), root)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("after"), 0o600))
	text, err := os.ReadFile(filepath.Join(s.Dir(), "file"))
	require.NoError(t, err)
	require.Equal(t, "before", string(text))
	require.ErrorIs(t, os.WriteFile(filepath.Join(s.Dir(), "file"), nil, 0o600), unix.EROFS)
	require.NoError(t, s.Intact(t.Context()))
	require.NoError(t, s.Release(t.Context()))
	require.NoError(t, s.Release(t.Context()), "a second time")
	noSnapshot(t, mnt, dir)
}

// What a snapshot would not hold is refused, and so is what is no Btrfs.
func TestBtrfsRefused(t *testing.T) {
	mnt, dir := mount(t, "btrfs"), t.TempDir()
	lab.Need(t, "btrfs")
	for _, d := range []string{"with", "without"} {
		require.NoError(t, os.Mkdir(filepath.Join(mnt, d), 0o755))
	}
	out, err := exec.Command("btrfs", "subvolume", "create", filepath.Join(mnt, "with", "inner")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for root, refused := range map[string]bool{mnt: true, filepath.Join(mnt, "with"): true, filepath.Join(mnt, "without"): false, filepath.Join(mnt, "with", "inner"): false, dir: true} {
		s, err := Btrfs(dir, quiet).Snapshot(t.Context(), root)
		if refused {
			require.Equal(t, CodeNoSnapshot, fault.CodeOf(err), root)
			continue
		}
		require.NoError(t, err, root)
		require.NoError(t, s.Release(t.Context()))
	}
	noSnapshot(t, mnt, dir)
}

// An agent killed while it makes, holds or removes snapshots leaves nothing that the next start does not find.
func TestSweep(t *testing.T) {
	mnt, dir := mount(t, "btrfs"), t.TempDir()
	for range 20 {
		wait := time.Duration(rand.Int64N(int64(30 * time.Millisecond)))
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"=snapshot|"+wait.String()+"|"+mnt+"|"+dir)
		require.Error(t, cmd.Run(), "it was not killed")
		require.NoError(t, Sweep(t.Context(), dir, quiet))
		noSnapshot(t, mnt, dir)
	}
	n, err := newNote(dir, "btrfs", mnt)
	require.NoError(t, err)
	require.NoError(t, Sweep(t.Context(), dir, quiet), "noted and never made")
	noSnapshot(t, mnt, dir)

	path := filepath.Join(dir, n.ID+".json")
	for _, text := range []string{``, `{`, `{"kind":"btrfs","id":"../../etc","at":"/"}`, `{"kind":"zfs","id":"` + n.ID + `","at":"/"}`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.Error(t, Sweep(t.Context(), dir, quiet), text)
	}
}

// snapshots makes and removes snapshots until it is killed, after args[0].
func snapshots(args []string) {
	wait, err := time.ParseDuration(args[0])
	time.AfterFunc(wait, func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) })
	for err == nil {
		var s Snapshot
		if s, err = Btrfs(args[2], quiet).Snapshot(context.Background(), args[1]); err == nil {
			err = s.Release(context.Background())
		}
	}
	os.Stderr.WriteString(err.Error())
}

// The hooks surround the instant, not the pass that reads it; what is read in vain is said.
func TestPlan(t *testing.T) {
	mnt := mount(t, "btrfs")
	log := &bytes.Buffer{}
	say := func(what string) func(context.Context) error {
		return func(context.Context) error { log.WriteString(what + " "); return nil }
	}
	p := &Plan{Mode: ModeAuto, Roots: []string{mnt}, Dir: filepath.Join(t.TempDir(), "notes"), Log: quiet,
		Before: say("before"), After: say("after")}
	require.NoError(t, p.Try(t.Context()))
	require.Equal(t, ModeBtrfs, p.Mode)
	require.Empty(t, log.String())
	for mode, want := range map[Mode]string{ModeNone: "before read after ", ModeFreeze: "before read after ", ModeBtrfs: "before after read "} {
		p.Mode = mode
		log.Reset()
		r, err := p.Run(t.Context(), func(_ context.Context, dirs []string, taken time.Time) error {
			require.Equal(t, mode == ModeBtrfs, len(dirs) == 1 && !taken.IsZero())
			return say("read")(t.Context())
		})
		require.NoError(t, err)
		require.Equal(t, want, log.String())
		require.Equal(t, mode != ModeNone, r.Kind == PointApplication)
	}
	noSnapshot(t, mnt, p.Dir)

	p.Mode, p.Before, p.Bound = ModeFreeze, nil, 50*time.Millisecond
	for try := 1; try <= thawedOften; try++ {
		_, err := p.Run(t.Context(), func(ctx context.Context, _ []string, _ time.Time) error {
			await(t, ctx.Done(), "the bound does not end it") // unless freezing alone took as long
			return nil
		})
		require.ErrorIs(t, err, ErrThawed)
		require.Equal(t, try == thawedOften, fault.CodeOf(err) == "FERRY-FREEZE-BOUND")
	}
	_, err := ParseMode("vss")
	require.Error(t, err)
}

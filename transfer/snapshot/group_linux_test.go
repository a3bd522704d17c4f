package snapshot

import (
	"context"
	"errors"
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

func open(t *testing.T, o Options) *Group {
	t.Helper()
	g, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// Writers wait while critical runs, and go on afterwards; a group freezes again and again.
func TestFreeze(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			mnt := mount(t, fs)
			require.NoError(t, os.WriteFile(filepath.Join(mnt, "file"), []byte("before"), 0o600))
			g := open(t, Options{Mounts: []string{mnt, mnt}})
			for range 3 {
				var written <-chan struct{}
				r, err := g.Do(t.Context(), func(context.Context) error {
					written = write(t, mnt)
					text, err := os.ReadFile(filepath.Join(mnt, "file"))
					require.Equal(t, "before", string(text))
					return err
				})
				require.NoError(t, err)
				await(t, written, "the writer was not released")
				require.Equal(t, PointFilesystem, r.Kind)
				require.Len(t, r.Frozen, 1)
				require.Equal(t, mnt, r.Frozen[0].Mount)
				require.Positive(t, r.Longest())
				t.Logf("frozen for %v", r.Longest())
			}
			failed := errors.New("critical failed")
			_, err := g.Do(t.Context(), func(context.Context) error { return failed })
			require.Equal(t, failed, err)
		})
	}
}

// What hangs while the filesystem is frozen loses its point in time, not the server.
func TestBound(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			mnt := mount(t, fs)
			g := open(t, Options{Mounts: []string{mnt}, Bound: 300 * time.Millisecond})
			r, err := g.Do(t.Context(), func(ctx context.Context) error {
				await(t, write(t, mnt), "the bound did not thaw") // critical is still here
				await(t, ctx.Done(), "critical is not told")
				return nil
			})
			require.ErrorIs(t, err, ErrThawed)
			require.Equal(t, fault.ClassTemporary, fault.ClassOf(err))
			require.Positive(t, r.Longest())
			t.Logf("bound 300ms, frozen for %v", r.Longest())
			_, err = g.Do(t.Context(), func(context.Context) error { return nil })
			require.NoError(t, err, "the group still works")
		})
	}
}

// A cancel thaws at once, also when critical does not heed it.
func TestCancel(t *testing.T) {
	mnt := mount(t, "ext4")
	g := open(t, Options{Mounts: []string{mnt}, Bound: 2 * patience})
	ctx, cancel := context.WithCancel(t.Context())
	var took time.Duration
	_, err := g.Do(ctx, func(context.Context) error {
		written := write(t, mnt)
		began := time.Now()
		cancel()
		await(t, written, "the cancel did not thaw")
		took = time.Since(began)
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, took, patience)
	t.Logf("thawed %v after the cancel", took)
	_, err = g.Do(ctx, func(context.Context) error { t.Error("it ran"); return nil })
	require.ErrorIs(t, err, context.Canceled)
}

// Somebody else's freeze is respected, and what was frozen before it is met is thawed.
func TestFrozenByOthers(t *testing.T) {
	ours, theirs := mount(t, "ext4"), mount(t, "xfs")
	g := open(t, Options{Mounts: []string{ours, theirs}})
	require.Zero(t, onMount(t, theirs, fiFreeze))
	_, err := g.Do(t.Context(), func(context.Context) error { t.Error("critical ran"); return nil })
	require.Equal(t, "FERRY-FREEZE-BUSY", fault.CodeOf(err))
	require.ErrorContains(t, err, theirs)
	notFrozen(t, ours)
	require.Zero(t, onMount(t, theirs, fiThaw), "it was thawed")
	_, err = g.Do(t.Context(), func(context.Context) error { return nil })
	require.NoError(t, err)
}

// When somebody else thaws, what was read is no point in time.
func TestThawedByOthers(t *testing.T) {
	mnt := mount(t, "btrfs")
	g := open(t, Options{Mounts: []string{mnt}})
	_, err := g.Do(t.Context(), func(context.Context) error {
		require.Zero(t, onMount(t, mnt, fiThaw))
		return nil
	})
	require.ErrorIs(t, err, ErrThawed)
	require.ErrorContains(t, err, mnt)
}

func TestTwoGroups(t *testing.T) {
	a, b := mount(t, "ext4"), mount(t, "xfs")
	first, second := open(t, Options{Mounts: []string{a}}), open(t, Options{Mounts: []string{b}})
	both := open(t, Options{Mounts: []string{a, b}})
	_, err := first.Do(t.Context(), func(ctx context.Context) error {
		_, err := second.Do(ctx, func(ctx context.Context) error {
			waits := []<-chan struct{}{write(t, a), write(t, b)}
			_, err := both.Do(ctx, func(context.Context) error { t.Error("critical ran"); return nil })
			require.Equal(t, "FERRY-FREEZE-BUSY", fault.CodeOf(err))
			for _, c := range waits {
				select {
				case <-c:
					t.Error("one group thawed what another froze")
				default:
				}
			}
			t.Cleanup(func() { await(t, waits[0], "not released"); await(t, waits[1], "not released") })
			return nil
		})
		return err
	})
	require.NoError(t, err)
}

// A filesystem in a file of another one freezes first, in whatever order they are named.
func TestStacked(t *testing.T) {
	lower := mount(t, "xfs")
	lab.Need(t, "mkfs.ext4", "mount")
	image, upper := filepath.Join(lower, "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 32<<20))
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, upper}} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(upper, 0)) })
	for _, mounts := range [][]string{{lower, upper}, {upper, lower}} {
		g := open(t, Options{Mounts: mounts})
		require.NoError(t, os.WriteFile(filepath.Join(upper, "dirty"), make([]byte, 4<<20), 0o600))
		r, err := g.Do(t.Context(), func(context.Context) error { return nil })
		require.NoError(t, err)
		require.Equal(t, []string{upper, lower}, []string{r.Frozen[0].Mount, r.Frozen[1].Mount})
		g.Close()
	}
}

// What cannot be frozen is said.
func TestLoose(t *testing.T) {
	mnt, loose := mount(t, "ext4"), lab.Mount(t, "tmpfs", 1<<20)
	g := open(t, Options{Mounts: []string{loose, mnt}})
	r, err := g.Do(t.Context(), func(context.Context) error { return nil })
	require.NoError(t, err)
	require.Equal(t, PointFilesystem, r.Kind)
	require.Equal(t, []string{loose}, r.Loose)
	require.Len(t, r.Frozen, 1)
	r, err = open(t, Options{Mounts: []string{loose}}).Do(t.Context(), func(context.Context) error { return nil })
	require.NoError(t, err)
	require.Equal(t, PointNone, r.Kind)
}

// What has to be written meanwhile may not lie there.
func TestOwnFiles(t *testing.T) {
	mnt := mount(t, "btrfs")
	state := filepath.Join(mnt, "state")
	require.NoError(t, os.Mkdir(state, 0o700))
	_, err := Open(t.Context(), Options{Mounts: []string{mnt}, Writes: []string{t.TempDir(), state}})
	require.Equal(t, "FERRY-FREEZE-OWN", fault.CodeOf(err))
	open(t, Options{Mounts: []string{mnt}, Writes: []string{t.TempDir(), "/proc/self/fd/1"}})
}

// The freezer killed, the agent thaws.
func TestFreezerKilled(t *testing.T) {
	a, b := mount(t, "ext4"), mount(t, "btrfs")
	g := open(t, Options{Mounts: []string{a, b}})
	_, err := g.Do(t.Context(), func(ctx context.Context) error {
		first, second := write(t, a), write(t, b)
		require.NoError(t, unix.Kill(g.pid, unix.SIGTERM), "meant for the agent")
		require.NoError(t, unix.Kill(g.pid, unix.SIGKILL))
		await(t, first, "not thawed")
		await(t, second, "not thawed")
		await(t, ctx.Done(), "critical is not told")
		return ctx.Err()
	})
	require.ErrorIs(t, err, ErrThawed)
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(err))
	_, err = g.Do(t.Context(), func(context.Context) error { t.Error("it ran without a freezer"); return nil })
	require.Error(t, err)
}

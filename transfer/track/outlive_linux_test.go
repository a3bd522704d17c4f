package track

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain is also the process that holds a tracker and gets killed: it opens one, says how its first Take went, and waits.
func TestMain(m *testing.M) {
	if dev := os.Getenv("TRACK_HOLDER"); dev != "" {
		k, err := Open(context.Background(), Options{Device: dev, StateDir: os.Getenv("TRACK_STATE"), BPFFS: os.Getenv("TRACK_BPFFS")})
		if err == nil {
			_, err = k.Take(context.Background())
		}
		fmt.Println(err)
		select {}
	}
	os.Exit(m.Run())
}

// holder starts a process that opens a tracker and takes once; it returns after that, or when a crash point ended it.
func holder(t *testing.T, o Options, crashAt string) (said string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TRACK_HOLDER="+o.Device, "TRACK_STATE="+o.StateDir, "TRACK_BPFFS="+o.BPFFS, "FERRY_CRASH_AT="+crashAt)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, _ = bufio.NewReader(out).ReadString('\n')
	return said, func() { cmd.Process.Kill(); cmd.Wait() }
}

// TestKilled kills the process that holds the tracker. The kernel goes on: what was written before, meanwhile and after is there.
func TestKilled(t *testing.T) {
	dev := loop(t, 64<<20)
	o := lasting(t, dev)
	said, kill := holder(t, o, "")
	require.Equal(t, "<nil>\n", said)
	write(t, dev, 3)
	kill()
	write(t, dev, 5)
	k := resumed(t, o)
	defer k.Close()
	write(t, dev, 7)
	require.Equal(t, append(append(chunks(3, 1), chunks(5, 1)...), chunks(7, 1)...), take(t, k))
}

// TestKilledInTake kills the process when its pending set is written and before it becomes the new one, and when it is and no mark
// is cleared.
func TestKilledInTake(t *testing.T) {
	for _, at := range []string{"durable.synced:2", "durable.renamed:2"} {
		t.Run(at, func(t *testing.T) {
			dev := loop(t, 64<<20)
			o := lasting(t, dev)
			require.NoError(t, resumed(t, o).Close()) // the first set is written in this process
			write(t, dev, 3)
			said, kill := holder(t, o, at[:len(at)-1]+"1")
			kill()
			require.Empty(t, said, "it was not killed in Take")
			k := resumed(t, o)
			defer k.Close()
			require.Equal(t, chunks(3, 1), take(t, k))
			require.Equal(t, chunks(3, 1), take(t, k), "not acknowledged")
			acknowledge(t, k, chunks(3, 1))
			require.Empty(t, take(t, k))
		})
	}
}

// TestGoneWrong lets something happen that writes can hide behind: the next Take says so with all of the device, still does
// after a restart until that is acknowledged, and then tracks on.
func TestGoneWrong(t *testing.T) {
	const size = 64 << 20
	for name, wrong := range map[string]func(t *testing.T, o Options){
		"pins removed": func(t *testing.T, o Options) {
			pins, err := pinsOf(o)
			require.NoError(t, err)
			require.NoError(t, unpin(pins))
		},
		"another boot, or other programs": func(t *testing.T, o Options) { edit(t, o, func(p *pending) { p.Generation += "x" }) },
		"pending set damaged": func(t *testing.T, o Options) {
			name := filepath.Join(o.StateDir, pendingFile)
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			data[len(data)-1] ^= 1
			require.NoError(t, os.WriteFile(name, data, 0o600))
		},
		"another image in the device": func(t *testing.T, o Options) {
			image := run(t, "losetup", "--noheadings", "--output=BACK-FILE", o.Device)
			run(t, "losetup", "-d", o.Device)
			run(t, "losetup", "--direct-io=on", o.Device, image)
		},
		"device grown and shrunk": func(t *testing.T, o Options) {
			image := run(t, "losetup", "--noheadings", "--output=BACK-FILE", o.Device)
			require.NoError(t, os.Truncate(image, size+1<<20))
			run(t, "losetup", "-c", o.Device)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev := loop(t, size)
			if name == "another image in the device" {
				dev = ownLoop(t, size)
			}
			o := lasting(t, dev)
			k := resumed(t, o)
			write(t, dev, 3)
			require.NoError(t, k.Close())
			wrong(t, o)

			k = resumed(t, o)
			_, err := k.Peek(context.Background())
			require.ErrorIs(t, err, ErrLost)
			list, err := k.Take(context.Background())
			require.ErrorIs(t, err, ErrLost)
			t.Log(err)
			require.EqualValues(t, k.size, list.Bytes())
			require.NoError(t, k.Close())

			k = resumed(t, o)
			defer func() { require.NoError(t, k.Close()) }()
			require.Equal(t, list, take(t, k))
			acknowledge(t, k, list)
			write(t, dev, 9)
			require.Equal(t, chunks(9, 1), take(t, k))
		})
	}
}

// edit changes the pending set on disk.
func edit(t *testing.T, o Options, f func(*pending)) {
	t.Helper()
	p, err := loadPending(o.StateDir)
	require.NoError(t, err)
	f(p)
	p.exists = false
	require.NoError(t, p.keep(p.list, p.Counts))
}

// TestDeviceChanges grows the device while it is tracked.
func TestDeviceChanges(t *testing.T) {
	dev := loop(t, 64<<20)
	k := watch(t, dev)
	image := run(t, "losetup", "--noheadings", "--output=BACK-FILE", dev)
	require.NoError(t, os.Truncate(image, 65<<20))
	run(t, "losetup", "-c", dev)
	_, err := k.Take(context.Background())
	require.ErrorIs(t, err, ErrLost)
	require.ErrorContains(t, err, "changed")
}

// TestEndUnseen leaves a write on the list of those in flight: it is read again with the next pass and then forgotten, as the device
// has nothing in flight.
func TestEndUnseen(t *testing.T) {
	k := watch(t, loop(t, 64<<20))
	require.NoError(t, k.programs.flying.Put(uint64(1), flight{5*128 + 8, 4096, 1}))
	require.Empty(t, take(t, k))
	require.Equal(t, chunks(5, 1), take(t, k))
	acknowledge(t, k, chunks(5, 1))
	require.Empty(t, take(t, k))
}

// TestBeginUnseen takes away the program that sees writes begin.
func TestBeginUnseen(t *testing.T) {
	dev := loop(t, 64<<20)
	k := watch(t, dev)
	require.NoError(t, k.programs.links[0].Close())
	write(t, dev, 5)
	_, err := k.Peek(context.Background())
	require.ErrorIs(t, err, ErrLost)
	_, err = k.Take(context.Background())
	require.ErrorIs(t, err, ErrLost)
	acknowledge(t, k, k.whole())
	require.Empty(t, take(t, k))
}

// TestLeavesNothing opens, pins, closes and removes: programs and maps of this process are gone, and so is the mount.
func TestLeavesNothing(t *testing.T) {
	dev := loop(t, 64<<20)
	o := lasting(t, dev)
	k := resumed(t, o)
	marks, err := k.programs.marks.Info()
	require.NoError(t, err)
	id, _ := marks.ID()
	require.NoError(t, k.Close())
	require.NoError(t, Remove(o))
	require.False(t, isBPFFS(o.BPFFS))
	require.NoError(t, Remove(o), "a second time")
	requireGone(t, id)
}

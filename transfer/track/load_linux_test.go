package track

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// neighbours attaches busy programs to the tracepoints of the tracker: of the same kind as its own, and plain raw ones.
func neighbours(t *testing.T) (runs func() uint64) {
	t.Helper()
	var programs []*ebpf.Program
	for _, e := range events[ofRequest] {
		for _, kind := range []ebpf.ProgramType{ebpf.RawTracepoint, ebpf.Tracing} {
			spec := &ebpf.ProgramSpec{Name: "busy", Type: kind, License: "GPL", Instructions: asm.Instructions{
				asm.Mov.Imm(asm.R6, 0),
				asm.FnGetPrandomU32.Call().WithSymbol("loop"),
				asm.Add.Imm(asm.R6, 1),
				asm.JLT.Imm(asm.R6, 300, "loop"),
				asm.Mov.Imm(asm.R0, 0),
				asm.Return(),
			}}
			if kind == ebpf.Tracing {
				spec.AttachType, spec.AttachTo = ebpf.AttachTraceRawTp, e.tracepoint
			}
			program, err := ebpf.NewProgram(spec)
			require.NoError(t, err)
			t.Cleanup(func() { program.Close() })
			var l link.Link
			if kind == ebpf.RawTracepoint {
				l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: e.tracepoint, Program: program})
			} else {
				l, err = link.AttachTracing(link.TracingOptions{Program: program, AttachType: ebpf.AttachTraceRawTp})
			}
			require.NoError(t, err)
			t.Cleanup(func() { l.Close() })
			programs = append(programs, program)
		}
	}
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(t, err)
	t.Cleanup(func() { stats.Close() })
	return func() (n uint64) {
		for _, p := range programs {
			s, err := p.Stats()
			require.NoError(t, err)
			t.Logf("neighbour: %d runs of %s", s.RunCount, s.Runtime/time.Duration(max(1, s.RunCount)))
			n += s.RunCount
		}
		return n
	}
}

// TestBusyNeighbours is TestEachOfManyWrites beside other tracing programs.
func TestBusyNeighbours(t *testing.T) {
	dev := loop(t, 16384*chunkSize)
	k := watch(t, dev)
	runs := neighbours(t)
	sparse(t, dev, "16384")
	require.NotZero(t, runs())
	require.Equal(t, chunks(0, 16384), take(t, k))
}

// TestTakeWhileWriting copies what is taken, pass after pass, from a device that is written to all the time. After the writers have
// stopped and one more pass the copy equals the device.
func TestTakeWhileWriting(t *testing.T) {
	rounds := 2
	if os.Getenv("FERRY_SOAK") != "" {
		rounds = 100
	}
	for _, kind := range []string{"loop", "zram"} {
		t.Run(kind, func(t *testing.T) {
			const size = 128 << 20
			dev := map[string]func(testing.TB, int64) string{"loop": loop, "zram": zram}[kind](t, size)
			lab.Need(t, "fio")
			k := watch(t, dev)
			target := content(t, dev)
			for round := range rounds {
				writer := exec.Command("fio", "--minimal", "--filename="+dev, "--direct=1", "--ioengine=libaio", "--norandommap",
					"--name=verified", "--rw=randwrite", "--size=48m", "--bs=4k", "--iodepth=8", "--number_ios=20000", "--serialize_overlap=1",
					"--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
					"--name=mixed", "--rw=randrw", "--offset=48m", "--size=48m", "--bsrange=4k-128k", "--iodepth=4", "--number_ios=6000",
					"--name=trim", "--rw=randtrimwrite", "--offset=96m", "--size=32m", "--bs=64k", "--number_ios=2000")
				said := &bytes.Buffer{}
				writer.Stdout, writer.Stderr = said, said
				require.NoError(t, writer.Start())
				ended := make(chan error, 1)
				go func() { ended <- writer.Wait() }()
				passes, err := 0, error(nil)
				for running := true; running; passes++ {
					select {
					case err = <-ended:
						running = false
					default:
					}
					copyTaken(t, k, dev, target)
				}
				require.NoError(t, err, "%s", said)
				require.Empty(t, differing(target, content(t, dev)), "round %d, %d passes", round, passes)
				t.Logf("round %d: %d passes", round, passes)
			}
		})
	}
}

// copyTaken is one pass: what is taken is read past the page cache into target, and acknowledged.
func copyTaken(t *testing.T, k *Kernel, dev string, target []byte) {
	t.Helper()
	list := take(t, k)
	d := direct(t, dev)
	for _, e := range list {
		_, err := d.ReadAt(target[e.Start:e.End()], e.Start)
		require.NoError(t, err)
	}
	d.Close()
	require.NoError(t, k.Acknowledge(context.Background(), list))
}

// TestMounted takes while a filesystem is mounted and in use, with nothing of the kernel's page cache in the way: every chunk that
// differs after sync is one that was taken.
func TestMounted(t *testing.T) {
	for fs, size := range map[string]int64{"ext4": 128 << 20, "xfs": 300 << 20, "btrfs": 128 << 20} {
		t.Run(fs, func(t *testing.T) {
			dev := loop(t, size)
			run(t, "mkfs."+fs, "-q", dev)
			dir := t.TempDir()
			run(t, "mount", "-o", "discard", dev, dir)
			t.Cleanup(func() { run(t, "umount", dir) })
			k := watch(t, dev)
			before := content(t, dev)
			run(t, "cp", "-a", "/etc", dir+"/a")
			run(t, "sync", "-f", dir)
			run(t, "rm", "-r", dir+"/a")
			run(t, "fstrim", dir)
			run(t, "sync", "-f", dir)
			changed := differing(before, content(t, dev))
			require.NotEmpty(t, changed)
			require.Empty(t, changed.Subtract(take(t, k)))
		})
	}
}

package track

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkCost lets fio write in turn without and with a tracker, and says what the tracker costs: its programs for one event, and the
// median of the writes a second. Use -benchtime=20x.
func BenchmarkCost(b *testing.B) {
	dev := loop(b, 1<<30)
	var without, with []float64
	for range b.N {
		without = append(without, iops(b, dev))
		k := watch(b, dev)
		with = append(with, iops(b, dev))
		require.NoError(b, k.Close())
	}
	slices.Sort(without)
	slices.Sort(with)
	b.ReportMetric(without[b.N/2], "IOPS-without")
	b.ReportMetric(with[b.N/2], "IOPS-with")
	b.ReportMetric(100*(1-with[b.N/2]/without[b.N/2]), "%slower")

	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	k := watch(b, dev)
	iops(b, dev)
	for i, unit := range []string{"ns/begin", "ns/end"} {
		s, err := k.programs.programs[i].Stats()
		require.NoError(b, err)
		b.ReportMetric(float64(s.Runtime)/float64(s.RunCount), unit)
	}
}

// iops returns how many writes a second fio does.
func iops(b *testing.B, dev string) float64 {
	b.Helper()
	out := run(b, "fio", "--minimal", "--name=w", "--filename="+dev, "--direct=1", "--rw=randwrite", "--bs=4k", "--number_ios=40000",
		"--ioengine=libaio", "--iodepth=16", "--norandommap")
	fields := strings.Split(out, ";")
	require.Greater(b, len(fields), 48)
	n, err := strconv.ParseFloat(fields[48], 64) // see fio(1), terse output: write IOPS
	require.NoError(b, err)
	return n
}

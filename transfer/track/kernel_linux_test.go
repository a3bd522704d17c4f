package track

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

func TestEachOf65536Writes(t *testing.T) {
	dev := loop(t, 4<<30)
	lab.Need(t, "fio")
	k := watch(t, dev)
	start := time.Now()
	list, err := k.Take(context.Background())
	require.NoError(t, err)
	t.Log(list, time.Since(start))
	out := run(t, "fio", "--name=w", "--filename="+dev, "--direct=1", "--rw=write:60k", "--bs=4k", "--number_ios=65536", "--ioengine=libaio", "--iodepth=16", "--norandommap", "--size=4g")
	t.Log(out)
	start = time.Now()
	list, err = k.Take(context.Background())
	require.NoError(t, err)
	t.Log(time.Since(start))
	require.Equal(t, extent.List{{Start: 0, Size: 4 << 30}}, list)
	require.Empty(t, func() extent.List {
		k.Acknowledge(context.Background(), list)
		l, err := k.Take(context.Background())
		require.NoError(t, err)
		return l
	}())
}

package target

import (
	"fmt"
	"testing"
	"time"
	"os"

	"golang.org/x/sys/unix"
	"github.com/ferry-migrate/ferry/transfer/chunk"
)

func BenchmarkFloor(b *testing.B) {
	dir := tmpfs(b)
	fd, _ := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	data := randomBytes(1, 8<<10)
	ts := [2]unix.Timespec{{Sec: 1}, {Sec: 2}}
	var t [6]time.Duration
	for i := range b.N {
		name := append(fmt.Appendf(nil, "file-%d", i), 0)
		t0 := time.Now()
		chunk.Sum(data)
		t1 := time.Now()
		f, e := openat(fd, &name[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o644)
		if e != 0 {
			b.Fatal(e)
		}
		t2 := time.Now()
		pwriteAll(f, data, 0)
		t3 := time.Now()
		utimens(f, nil, &ts)
		t4 := time.Now()
		unix.Close(f)
		t5 := time.Now()
		for k, d := range []time.Duration{t1.Sub(t0), t2.Sub(t1), t3.Sub(t2), t4.Sub(t3), t5.Sub(t4)} {
			t[k] += d
		}
	}
	for k, n := range []string{"sum", "open", "write", "utimens", "close"} {
		b.ReportMetric(float64(t[k])/float64(b.N), n)
	}
	os.RemoveAll(dir)
}

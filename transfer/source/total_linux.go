package source

import (
	"context"
	"time"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// totalAfter is how long a first copy runs before its size is found out: a shorter one ends before anybody wants to know.
const totalAfter = 3 * time.Second

// total walks the source once more, beside the copy, so that its progress has something to be compared with. What cannot be
// looked at is left out.
func (p *pass) total(ctx context.Context) {
	wait := time.NewTimer(totalAfter)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return
	}
	fd, bounded, err := openRoot(p.cfg.dir())
	if err != nil {
		return
	}
	w, err := file.NewWalk(fd, file.WalkOptions{Workers: 1, Mounts: bounded, Skip: p.skip(), Brief: true})
	if err != nil {
		return
	}
	defer w.Close()
	var entries, bytes int64
	for it := w.Next(); it != nil; it = w.Next() {
		if ctx.Err() != nil {
			return
		}
		entries++
		if it.Kind == file.KindRegular {
			bytes += min(it.Size, it.Place.Alloc) / int64(max(it.Nlink, 1))
		}
	}
	p.count.filesTotal.Store(entries)
	p.count.bytesTotal.Store(bytes)
}

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// load is one comparison.
type load struct {
	name, title string
	data        string // "small" or "big"
	on          string // filesystem of the target
	// again: the target holds the copy of the run before, and change, if any, was applied to the source since.
	again  bool
	change func(dir string, seed uint64) error
	runs   []contestant // the first is Ferry as it is judged
	goals  []goal
}

// goal is a ratio of a figure of Ferry, the first contestant, to that of another, that is to be reached.
type goal struct {
	than string
	what string // "wall", "cpu" or "wire"
	most float64
}

const none = "ferry --verify none"

var loads = []load{
	{name: "t1", title: "T1, first copy, to tmpfs", data: "small", on: "tmpfs",
		runs:  []contestant{ferry(none, "--verify", "none"), ferry("ferry (--verify full)"), rsyncSSH("rsync ssh", "-S"), rsyncDaemon("rsync daemon", "-S"), tarSocat()},
		goals: []goal{{"rsync ssh", "wall", 0.40}, {"rsync ssh", "cpu", 0.50}, {"tar, socat, tar", "wall", 1.0}}},
	{name: "t1-again", title: "T1, nothing changed, on tmpfs", data: "small", on: "tmpfs", again: true,
		runs:  []contestant{ferry(none, "--verify", "none"), rsyncDaemon("rsync daemon", "-S")},
		goals: []goal{{"rsync daemon", "wall", 0.25}}},
	{name: "t3", title: "T3, first copy, to tmpfs", data: "big", on: "tmpfs",
		runs:  []contestant{ferry(none, "--verify", "none"), ferry("ferry (--verify full)"), rsyncSSH("rsync ssh", "-S")},
		goals: []goal{{"rsync ssh", "wall", 0.30}}},
	{name: "t3-changed", title: "T3, after 2 % of the blocks changed, on tmpfs", data: "big", on: "tmpfs", again: true, change: mutateBig,
		runs:  []contestant{ferry(none, "--verify", "none"), ferry("ferry (--verify full)"), rsyncSSH("rsync ssh --inplace", "--inplace")},
		goals: []goal{{"rsync ssh --inplace", "wall", 0.25}}},
	{name: "zstd", title: "T1, first copy with zstd, to tmpfs", data: "small", on: "tmpfs",
		runs:  []contestant{ferry("ferry --compress zstd", "--verify", "none", "--compress", "zstd"), rsyncSSH("rsync ssh zstd", "-S", "-z", "--zc=zstd", "--zl=1")},
		goals: []goal{{"rsync ssh zstd", "wire", 1.0}}},
	{name: "t1-ext4", title: "T1, first copy, to a new ext4", data: "small", on: "ext4",
		runs:  []contestant{ferry(none, "--verify", "none"), ferry("ferry (--verify full)"), rsyncDaemon("rsync daemon", "-S"), tarSocat()},
		goals: []goal{{"rsync daemon", "wall", 0.60}}},
}

// bencher holds what all loads share.
type bencher struct {
	ferry, dir string
	sshd, ssh  string
	source     string // type of the sources' filesystem
	scale      int
	data       map[string]*lab.Filesystem
}

func newLab(ferry, source string, scale int) (*bencher, error) {
	path, err := filepath.Abs(ferry)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: make build", err)
	}
	dir, err := os.MkdirTemp("", "ferry-bench-")
	if err != nil {
		return nil, err
	}
	b := &bencher{ferry: path, dir: dir, source: source, scale: max(scale, 1), data: map[string]*lab.Filesystem{}}
	return b, b.prepareSSH()
}

func (b *bencher) close() {
	for _, f := range b.data {
		_ = f.Close()
	}
	os.RemoveAll(b.dir)
}

// sourceOf makes the data of a load, once.
func (b *bencher) sourceOf(data string) (string, error) {
	if f := b.data[data]; f != nil {
		return filepath.Join(f.Dir, data), nil
	}
	f, err := lab.Make(b.source, 6<<30)
	if err != nil {
		return "", err
	}
	b.data[data] = f
	dir := filepath.Join(f.Dir, data)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if data == "small" {
		err = makeSmall(dir, 100_000/b.scale)
	} else {
		err = makeBig(dir, 8, 512<<20/int64(b.scale))
	}
	if err == nil {
		err = settle(dir)
	}
	return dir, err
}

// settle waits until what was written is on disk: nobody pays for it later.
func settle(dir string) error {
	if out, err := exec.Command("sync", "-f", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("sync: %w: %s", err, out)
	}
	return nil
}

// row is what a contestant needed, run by run.
type row struct {
	name string
	runs []*figures
}

// run lets the contestants of a load take turns, n times.
func (b *bencher) run(l *load, n int) ([]row, error) {
	source, err := b.sourceOf(l.data)
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(l.runs))
	courts := make([]*court, len(l.runs))
	defer func() {
		for _, c := range courts {
			c.close()
		}
	}()
	for i, c := range l.runs {
		rows[i].name = c.name
		if l.again { // the copy to start from is not timed
			if courts[i], _, err = b.play(nil, l, c, source); err != nil {
				return nil, err
			}
		}
	}
	for turn := range n {
		if l.change != nil {
			if err := l.change(source, uint64(turn+1)); err != nil {
				return nil, err
			}
			if err := settle(source); err != nil {
				return nil, err
			}
		}
		for i, c := range l.runs {
			if !l.again {
				courts[i].close()
				courts[i] = nil
			}
			var f *figures
			if courts[i], f, err = b.play(courts[i], l, c, source); err != nil {
				return nil, err
			}
			rows[i].runs = append(rows[i].runs, f)
			if i == 0 && turn == 0 {
				if err := same(source, courts[i].target()); err != nil {
					return nil, err
				}
			}
			if !l.again {
				courts[i].close()
				courts[i] = nil
			}
		}
	}
	return rows, nil
}

// court is where one contestant keeps its copy.
type court struct {
	fs    *lab.Filesystem
	state string
}

func (c *court) target() string { return filepath.Join(c.fs.Dir, "target") }

func (c *court) close() {
	if c != nil {
		_ = c.fs.Close()
		os.RemoveAll(c.state)
	}
}

// play runs a contestant once, on a new court if it is not given one.
func (b *bencher) play(c *court, l *load, who contestant, source string) (*court, *figures, error) {
	if c == nil {
		state, err := os.MkdirTemp(b.dir, "state-")
		if err != nil {
			return nil, nil, err
		}
		c = &court{state: state}
		if c.fs, err = lab.Make(l.on, 6<<30); err != nil {
			return nil, nil, err
		}
		if err := os.Mkdir(c.target(), 0o755); err != nil {
			return c, nil, err
		}
	}
	if err := touchMemory(6 << 30); err != nil {
		return c, nil, err
	}
	if err := readAll(source); err != nil {
		return c, nil, err
	}
	f, err := execute(who.job(b, places{source: source, target: c.target(), state: c.state}))
	return c, f, err
}

// touchMemory takes and gives back n bytes of memory, so that a run finds pages that the hypervisor has backed. Where the host takes
// free pages back (page reporting), the first write to one costs up to twenty times an ordinary one: 1.1 to 5.1 s for the same
// 2.7 GiB of dd were seen. Who pays that is chance, and it has nothing to do with copying.
func touchMemory(n int) error {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(mem)
}

// readAll reads every file below dir: kernels that reclaim ahead of need (DAMON) evict what was not used for a while, and a page
// cache is warm only if it was just warmed.
func readAll(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		return err
	})
}

// same fails unless rsync, reading all content, finds nothing to do.
func same(source, target string) error {
	out, err := exec.Command("rsync", "-aHAXn", "--delete", "--checksum", "--itemize-changes", source+"/", target+"/").CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("the copy is not the source: %w\n%.2000s", err, out)
	}
	return nil
}

func kernel() string {
	out, err := exec.Command("uname", "-sr").Output()
	if err != nil {
		return "unknown kernel"
	}
	return strings.TrimSpace(string(out))
}

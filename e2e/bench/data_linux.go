package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// words make text that compresses about as logs, configuration and programs do.
var words = []string{"server", "error", "config", "return", "package", "import", "func", "the", "of", "and", "network", "kernel", "module", "value",
	"0x1f", "127.0.0.1", "INFO", "WARN", "user=root", "status=200", "GET", "/index.html", "latency", "bytes", "request", "response", "database",
	"SELECT", "FROM", "WHERE", "id", "timestamp", "2026-01-01T00:00:00Z", "true", "false", "null", "}", "{", ";\n", ",\n", ":", "=", "if", "else",
	"for", "while", "static", "const", "uint64", "char*", "struct", "include"}

// stream is one deterministic source of content; each file has its own.
type stream struct{ *rand.ChaCha8 }

func newStream(seed, n uint64) stream {
	var s [32]byte
	for i := range 8 {
		s[i], s[8+i] = byte(seed>>(8*i)), byte(n>>(8*i))
	}
	return stream{rand.NewChaCha8(s)}
}

func (s stream) noise(b []byte) { _, _ = s.Read(b) }

func (s stream) text(b []byte) {
	for i := 0; i < len(b); {
		r := s.Uint64()
		if r&15 == 0 { // now and then a number that no other file has
			i += copy(b[i:], fmt.Sprintf("%012x", s.Uint64()>>16))
		} else {
			x, y := (r>>8)%uint64(len(words)), (r>>24)%uint64(len(words))
			i += copy(b[i:], words[min(x, y)])
		}
		if i < len(b) {
			b[i] = ' '
			i++
		}
	}
}

// mixed is text in six of ten cases, text and noise in three, noise in one.
func (s stream) mixed(b []byte) {
	switch k := s.Uint64() % 10; {
	case k < 6:
		s.text(b)
	case k < 9:
		s.text(b[:len(b)/2])
		s.noise(b[len(b)/2:])
	default:
		s.noise(b)
	}
}

var epoch = time.Unix(1_700_000_000, 123_456_789)

const perDir = 250

// makeSmall is T1: n files of 1 to 16 KiB, 250 to a directory.
func makeSmall(dir string, n int) error {
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for d := range (n + perDir - 1) / perDir {
		g.Go(func() error {
			sub := filepath.Join(dir, fmt.Sprintf("d%02d", d%20), fmt.Sprintf("s%04d", d))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
			for f := d * perDir; f < min((d+1)*perDir, n); f++ {
				s := newStream(1, uint64(f))
				data := make([]byte, 1024+s.Uint64()%(15<<10+1))
				s.mixed(data)
				if err := writeFile(filepath.Join(sub, fmt.Sprintf("f%06d.dat", f)), data, f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func writeFile(path string, data []byte, n int) error {
	mode := os.FileMode(0o644)
	if n%7 == 0 {
		mode = 0o600
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	at := epoch.Add(time.Duration(n) * time.Second)
	return os.Chtimes(path, at, at)
}

// makeBig is T3: n files of size bytes in runs of 1 MiB, a third each holes, text and noise.
func makeBig(dir string, n int, size int64) error {
	const run = 1 << 20
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for i := range n {
		g.Go(func() error {
			s := newStream(1, 1<<40+uint64(i))
			path := filepath.Join(dir, fmt.Sprintf("big%02d.bin", i))
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			defer f.Close()
			buf := make([]byte, run)
			for off := int64(0); off < size; off += run {
				switch s.Uint64() % 3 {
				case 0:
					continue // a hole
				case 1:
					s.text(buf)
				default:
					s.noise(buf)
				}
				if _, err := f.WriteAt(buf, off); err != nil {
					return err
				}
			}
			if err := f.Truncate(size); err != nil {
				return err
			}
			at := epoch.Add(time.Duration(i) * time.Second)
			return os.Chtimes(path, at, at)
		})
	}
	return g.Wait()
}

// mutateBig rewrites about two in a hundred blocks of 64 KiB in place, others for each seed.
func mutateBig(dir string, seed uint64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	s := newStream(seed, 1<<50)
	buf := make([]byte, 64<<10)
	for _, e := range entries {
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		for off := int64(0); off+int64(len(buf)) <= st.Size(); off += int64(len(buf)) {
			if s.Uint64()%100 >= 2 {
				continue
			}
			s.mixed(buf)
			if _, err := f.WriteAt(buf, off); err != nil {
				return err
			}
		}
	}
	return nil
}

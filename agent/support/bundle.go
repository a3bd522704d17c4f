package support

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MaxBundle is how large a bundle gets, in bytes packed: what the control plane takes (smsapi.MaxLogs).
const MaxBundle = 16 << 20

const (
	manifestName = "MANIFEST.json"
	maxText      = 64 << 20    // of all text before it is packed
	maxTail      = 8 << 20     // of one file: its end
	sourceTime   = time.Minute // what one source may take: the agent may hang
)

// A Source is one file of a bundle that is made, not copied: an inventory, what a running agent says.
type Source struct {
	Name string
	Make func(ctx context.Context) ([]byte, error)
}

// Contents says what goes into a bundle.
type Contents struct {
	State   string // directory; described, and its text files copied
	Logs    string // directory, copied; may be empty
	Config  string // file, copied without secrets; may be empty
	Sources []Source
	Version string // of ferry
}

// A Manifest says what is in a bundle, and what is not.
type Manifest struct {
	Version  string    `json:"version"`
	Made     time.Time `json:"made"`
	Files    []Packed  `json:"files"`
	Left     []Left    `json:"left_out"`
	Redacted int       `json:"redacted"` // secrets blotted out
}

// Packed is a file of the bundle.
type Packed struct {
	Name     string `json:"name"`
	Bytes    int    `json:"bytes"`
	Cut      int64  `json:"cut,omitempty"` // bytes of its beginning that are not there
	Redacted int    `json:"redacted,omitempty"`
}

// Left is what is missing, and why.
type Left struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// WriteBundle writes a tar.gz of at most MaxBundle bytes. What cannot be read is named in its manifest and costs nothing else; the error is
// one of writing, or that ctx is done.
func WriteBundle(ctx context.Context, to io.Writer, c Contents) (*Manifest, error) {
	b := &bundle{m: &Manifest{Version: c.Version, Made: time.Now().UTC().Truncate(time.Second)}, room: maxText}
	b.out = &limitedWriter{w: to, left: MaxBundle - 1<<20} // the manifest and the end of the archive want some
	zip := gzip.NewWriter(b.out)
	b.tar = tar.NewWriter(zip)
	for _, s := range c.Sources {
		b.source(ctx, s)
	}
	if c.Config != "" {
		b.file(c.Config, path.Join("config", filepath.Base(c.Config)))
	}
	if c.State != "" {
		b.source(ctx, Source{"state.txt", func(context.Context) ([]byte, error) {
			var text bytes.Buffer
			err := Describe(&text, c.State)
			return text.Bytes(), err
		}})
		b.tree(c.State, "state", keepState)
	}
	if c.Logs != "" {
		b.tree(c.Logs, "logs", func(string) string { return "" })
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	b.out.left += 1 << 20
	text, err := json.MarshalIndent(b.m, "", "  ")
	if err == nil {
		err = b.add(manifestName, text)
	}
	err = errors.Join(err, b.err, b.tar.Close(), zip.Close())
	return b.m, err
}

type bundle struct {
	tar  *tar.Writer
	out  *limitedWriter
	m    *Manifest
	room int // bytes of text
	err  error
}

// limitedWriter fails rather than write more than is left.
type limitedWriter struct {
	w    io.Writer
	left int
}

var errFull = errors.New("the bundle is full")

func (l *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errFull
	}
	l.left -= len(p)
	return l.w.Write(p)
}

// keepState returns why a file of a state directory stays out, "" if it does not.
func keepState(name string) string {
	base := path.Base(name)
	switch {
	case strings.HasSuffix(base, ".key") || strings.HasSuffix(base, ".pem") || strings.Contains(base, "key.json") || base == "targets.json" || base == "sources.json" || base == "console":
		return "it holds secrets"
	case strings.HasPrefix(base, "controller.db"):
		return "a database: ferry controller backup copies it"
	case strings.HasSuffix(base, ".json") || strings.HasSuffix(base, ".damaged") || base == "outbox" || strings.HasSuffix(base, ".txt") || strings.HasSuffix(base, ".log"):
		return ""
	default:
		return "not text: state.txt tells of it"
	}
}

// tree copies the files below a directory, the newest first, so that what does not fit is what is oldest.
func (b *bundle) tree(dir, name string, refuse func(name string) string) {
	type found struct {
		path string
		time time.Time
	}
	var files []found
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		switch {
		case err != nil:
			b.leave(path.Join(name, filepath.ToSlash(rel)), err.Error())
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		if reason := refuse(filepath.ToSlash(rel)); reason != "" {
			b.leave(path.Join(name, filepath.ToSlash(rel)), reason)
			return nil
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, found{p, info.ModTime()})
		}
		return nil
	})
	if err != nil {
		b.leave(name, err.Error())
	}
	slices.SortFunc(files, func(a, b found) int { return b.time.Compare(a.time) })
	for _, f := range files {
		rel, _ := filepath.Rel(dir, f.path)
		b.file(f.path, path.Join(name, filepath.ToSlash(rel)))
	}
}

func (b *bundle) leave(name, reason string) {
	const enough = 10_000
	if len(b.m.Left) < enough {
		b.m.Left = append(b.m.Left, Left{name, reason})
	}
}

// file copies the end of a text file, without secrets.
func (b *bundle) file(from, name string) {
	text, cut, err := tail(from, min(maxTail, b.room))
	if err != nil {
		b.leave(name, err.Error())
		return
	}
	b.text(name, text, cut)
}

func (b *bundle) source(ctx context.Context, s Source) {
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	text, err := s.Make(ctx)
	if err != nil {
		b.leave(s.Name, err.Error())
	}
	if len(text) > 0 {
		b.text(s.Name, text[:min(len(text), b.room)], int64(len(text)-min(len(text), b.room)))
	}
}

func (b *bundle) text(name string, text []byte, cut int64) {
	text, redacted := Redact(text)
	if err := b.add(name, text); err != nil {
		b.leave(name, err.Error())
		return
	}
	b.room -= min(b.room, len(text))
	b.m.Redacted += redacted
	b.m.Files = append(b.m.Files, Packed{Name: name, Bytes: len(text), Cut: cut, Redacted: redacted})
}

// add writes one file. Text packs to less than what is left, or there is no room for it: half a file would break the archive.
func (b *bundle) add(name string, text []byte) error {
	if b.err != nil {
		return b.err
	}
	if packedBound(text) > b.out.left {
		return errFull
	}
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: b.m.Made, Typeflag: tar.TypeReg}
	if b.err = b.tar.WriteHeader(h); b.err != nil {
		return b.err
	}
	if _, b.err = b.tar.Write(text); b.err != nil {
		b.err = fmt.Errorf("write %s: %w", name, b.err)
	}
	return b.err
}

// packedBound is more than text takes packed: tried, because text packs to a tenth and a bound without trying would leave most out.
func packedBound(text []byte) int {
	var n counter
	zip := gzip.NewWriter(&n)
	zip.Write(text)                 //nolint:errcheck // a counter does not fail
	zip.Close()                     //nolint:errcheck // the same
	return int(n) + 4<<10 + 128<<10 // the packer holds back some of what came before
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// tail returns the last bytes of a file, from the beginning of a line, and how many come before.
func tail(name string, limit int) (text []byte, cut int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	cut = max(0, info.Size()-int64(limit))
	if _, err := f.Seek(cut, io.SeekStart); err != nil {
		return nil, 0, err
	}
	in := bufio.NewReader(io.LimitReader(f, int64(limit)))
	if cut > 0 {
		skipped, err := in.ReadBytes('\n')
		cut += int64(len(skipped))
		if err != nil {
			return nil, cut, nil
		}
	}
	text, err = io.ReadAll(in)
	return text, cut, err
}

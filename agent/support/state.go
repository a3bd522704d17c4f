package support

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// maxJSON is the size of a JSON file that is shown, in bytes.
const maxJSON = 4 << 20

// Describe writes what a state directory holds, for a person: journals and records as they are, manifests by what they say of
// themselves, everything else by size and age. Damaged files are shown as far as they can be read. Secrets are left out.
func Describe(w io.Writer, dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return fault.Operator("FERRY-STATE", "name the state directory with --state; run as root to see that of the service", fmt.Errorf("state directory: %w", err))
	}
	out := &writer{w: w}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if err != nil {
			out.printf("%s: %v\n", rel, err)
			return nil
		}
		if d.IsDir() {
			return nil
		}
		out.file(p, filepath.ToSlash(rel), d)
		return out.err
	})
	if err != nil {
		return err
	}
	return out.err
}

// writer remembers the first error.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}

// file shows one file of a state directory.
func (w *writer) file(p, rel string, d fs.DirEntry) {
	info, err := d.Info()
	if err != nil {
		w.printf("%s: %v\n", rel, err)
		return
	}
	w.printf("%s  %d bytes, %s\n", rel, info.Size(), info.ModTime().Format(time.RFC3339))
	base := path.Base(rel)
	switch {
	case !d.Type().IsRegular():
		w.printf("    %s\n", d.Type())
	case base == "base" || base == "next":
		w.manifest(p)
	case keepState(rel) == "" && info.Size() <= maxJSON && (strings.HasSuffix(base, ".json") || base == "outbox"):
		w.record(p)
	}
}

// manifest shows what a manifest says of itself.
func (w *writer) manifest(p string) {
	r, err := manifest.Open(p)
	if err != nil {
		w.printf("    cannot be read: %v\n", err)
		return
	}
	defer r.Close()
	h, t := r.Header(), r.Totals()
	w.printf("    manifest of pass %x", h.Pass)
	if h.Base != (manifest.ID{}) {
		w.printf(", on top of %x", h.Base)
	}
	w.printf(", begun %s\n", time.Unix(h.Started.Sec, int64(h.Started.Nsec)).UTC().Format(time.RFC3339))
	switch {
	case h.Unclean:
		w.printf("    recovered: pass %x was cut off after frame %d, at %q\n", h.Cut.Pass, h.Cut.Acked, h.Cut.Path)
	case !r.Complete():
		w.printf("    not finished: the pass runs, or was cut off\n")
		return
	}
	w.printf("    %d entries: %d files, %d directories, %d symlinks; %d bytes\n",
		t.Entries, t.Kinds[file.KindRegular], t.Kinds[file.KindDir], t.Kinds[file.KindSymlink], t.Bytes)
}

// record shows a JSON file, or a file of JSON lines.
func (w *writer) record(p string) {
	text, err := os.ReadFile(p)
	if err != nil {
		w.printf("    cannot be read: %v\n", err)
		return
	}
	values := json.NewDecoder(bytes.NewReader(text))
	values.UseNumber()
	for {
		var v any
		err := values.Decode(&v)
		if err == io.EOF {
			return
		}
		if err != nil {
			w.printf("    not JSON from byte %d on: %v\n", values.InputOffset(), err)
			return
		}
		w.value("    ", "", v, 0)
	}
}

// maxDepth bounds how deep a record is shown.
const maxDepth = 8

// value shows one value of a record under its key; an id, which is stored as a list of bytes, in hexadecimal.
func (w *writer) value(indent, key string, v any, depth int) {
	label := key
	if label != "" {
		label += ": "
	}
	if depth > maxDepth {
		w.printf("%s%s…\n", indent, label)
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if key != "" {
			w.printf("%s%s:\n", indent, key)
			indent += "  "
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if v[k] == nil {
				continue
			}
			w.value(indent, k, v[k], depth+1)
		}
	case []any:
		if id, ok := identifier(v); ok {
			w.printf("%s%s%s\n", indent, label, id)
			return
		}
		w.printf("%s%s%d items\n", indent, label, len(v))
		for _, item := range v {
			w.value(indent+"  ", "-", item, depth+1)
		}
	default:
		line, _ := Redact([]byte(fmt.Sprintf("%s%v", label, v)))
		w.printf("%s%s\n", indent, strings.TrimSuffix(string(line), "\n"))
	}
}

// identifier returns a list of 16 or 32 bytes in hexadecimal.
func identifier(list []any) (string, bool) {
	if len(list) != 16 && len(list) != 32 {
		return "", false
	}
	raw := make([]byte, 0, len(list))
	for _, item := range list {
		n, ok := item.(json.Number)
		if !ok {
			return "", false
		}
		b, err := n.Int64()
		if err != nil || b < 0 || b > 255 {
			return "", false
		}
		raw = append(raw, byte(b))
	}
	return hex.EncodeToString(raw), true
}

package support

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/ferry-migrate/ferry/internal/fault"
)

const (
	maxLine     = 64 << 10  // of a line; the rest of a longer one is not looked at
	maxUnpacked = 256 << 20 // of a bundle, which may come from anybody
	maxEvidence = 3         // lines shown of one finding
)

// A Finding is a failure that a bundle shows signs of.
type Finding struct {
	Name     string     `json:"name"` // of the Failure, or the code
	Codes    []string   `json:"codes,omitempty"`
	Cause    string     `json:"cause"`
	Remedy   string     `json:"remedy"`
	Times    int        `json:"times"` // lines that show it
	Evidence []Evidence `json:"evidence"`
}

// Evidence is a line of a file in the bundle.
type Evidence struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Explain names the known failures that the text files of a bundle show signs of, what was seen most often first. It reads hostile
// archives too: no file is written, and no more than maxUnpacked bytes are looked at.
func Explain(ctx context.Context, bundle io.Reader) ([]Finding, error) {
	zip, err := gzip.NewReader(bundle)
	if err != nil {
		return nil, notBundle(err)
	}
	limited := &io.LimitedReader{R: zip, N: maxUnpacked}
	archive := tar.NewReader(limited)
	seen := map[string]*Finding{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, notBundle(err)
		}
		if h.Typeflag != tar.TypeReg || h.Name == manifestName {
			continue
		}
		if err := look(ctx, h.Name, archive, seen); err != nil {
			return nil, notBundle(err)
		}
	}
	var found []Finding
	for _, f := range seen {
		found = append(found, *f)
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

func notBundle(err error) error {
	if fault.Cancelled(err) {
		return err
	}
	return fault.Operator("FERRY-BUNDLE", "give a file that ferry debug bundle wrote", fmt.Errorf("read bundle: %w", err))
}

// look goes through one file.
func look(ctx context.Context, name string, r io.Reader, seen map[string]*Finding) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line, more, err := lines.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		note(seen, Evidence{File: name, Line: n, Text: string(bytes.ToValidUTF8(line[:min(len(line), 400)], []byte("?")))}, bytes.ToLower(line))
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
	}
}

var codeInText = regexp.MustCompile(`ferry-[a-z0-9]+(?:-[a-z0-9]+)*`)

// note adds a line to the findings it shows. Each failure counts a line once.
func note(seen map[string]*Finding, at Evidence, lower []byte) {
	for i := range Failures {
		f := &Failures[i]
		if slices.ContainsFunc(f.Signs, func(sign string) bool { return bytes.Contains(lower, []byte(sign)) }) {
			add(seen, Finding{Name: f.Name, Codes: slices.Concat(f.Codes, f.SMS), Cause: f.Cause, Remedy: f.Remedy}, at)
		}
	}
	for _, code := range codeInText.FindAll(lower, 8) {
		c, ok := Lookup(string(code))
		if !ok || len(c.Texts) == 0 {
			continue
		}
		said := c.Texts[0]
		add(seen, Finding{Name: c.Code, Codes: []string{c.Code}, Cause: said.Message, Remedy: said.Remedy}, at)
	}
}

func add(seen map[string]*Finding, f Finding, at Evidence) {
	have := seen[f.Name]
	if have == nil {
		have = &f
		seen[f.Name] = have
	}
	have.Times++
	if len(have.Evidence) < maxEvidence {
		have.Evidence = append(have.Evidence, at)
	}
}

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// Look walks the source and asks the target what it is and can hold, without changing either.
func Look(ctx context.Context, cfg *Config, count *Counters) (*Survey, error) {
	p, err := newPass(cfg, count)
	if err != nil {
		return nil, err
	}
	s := &Survey{Kinds: map[string]int64{}}
	err = p.with(ctx, func(ctx context.Context, dir string) error {
		if _, err := p.choose(dir); err != nil {
			return err
		}
		t := &p.target
		s.Known, s.Free, s.Target, s.Type = p.store.Base() != nil && !p.foreignBase, t.Free, t.Label, t.Type
		if _, err := p.openWalk(); err != nil {
			return err
		}
		defer p.walk.Close()
		p.noteMounts()
		if err := p.survey(ctx, s); err != nil {
			return err
		}
		p.s.Bye(false)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Losses = p.losses.list()
	return s, nil
}

func (p *pass) survey(ctx context.Context, s *Survey) error {
	f := p.foresight()
	linked := map[linkKey]struct{}{}
	for it := p.walk.Next(); it != nil; it = p.walk.Next() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := it.Name[:len(it.Name)-1]
		path := bytes.Clone(it.Dir.Path)
		if len(path) > 0 && len(name) > 0 {
			path = append(path, '/')
		}
		path = append(path, name...)
		if it.Unread != nil {
			p.unlisted(path, it.Unread)
			continue
		}
		if it.Err != nil {
			p.unlooked(path, it)
			continue
		}
		s.Entries++
		s.Kinds[it.Kind.String()]++
		p.count.files.Add(1)
		if it.Kind != file.KindDir && it.Nlink > 1 {
			key := linkKey{it.Place.Dev, it.Ino, it.Gen}
			if _, dup := linked[key]; dup {
				f.lacking("hard_link", path, "a further name of a file")
				continue
			}
			linked[key] = struct{}{}
		}
		f.entry(it, name, path)
		if it.Kind == file.KindRegular {
			s.Bytes += min(it.Size, it.Place.Alloc)
			p.count.bytes.Store(s.Bytes)
		}
	}
	return nil
}

// foresight tells what a target will not keep of an entry, by what it said of itself.
type foresight struct {
	p      *pass
	w      *worker
	lacks  map[string]bool
	limits file.Limits
	inside bool                // attributes have to be read
	names  map[uint64]struct{} // paths met, in lower case, where the target takes them for the same
}

func (p *pass) foresight() *foresight {
	f := &foresight{p: p, w: p.prober(), lacks: map[string]bool{}, limits: p.target.Limits, names: map[uint64]struct{}{}}
	f.inside = f.limits.Value > 0 && f.limits.Value < 64<<10
	for _, k := range p.target.Lacks {
		f.lacks[k] = true
		f.inside = f.inside || strings.HasPrefix(k, "xattr_") || k == "acl" || k == "capability" || k == "flags" || k == "project"
	}
	return f
}

func (f *foresight) lacking(kind string, path []byte, detail string) {
	if f.lacks[kind] {
		f.p.losses.add(kind, path, detail)
	}
}

var kindLosses = map[file.Kind]string{
	file.KindCharDev: "device", file.KindBlockDev: "device", file.KindFIFO: "special", file.KindSocket: "special", file.KindSymlink: "symlink",
}

// entry notes what the target will not be able to keep of an entry, and what the source cannot read.
func (f *foresight) entry(it *file.Item, name, path []byte) {
	if kind, ok := kindLosses[it.Kind]; ok && f.lacks[kind] {
		f.lacking(kind, path, "a "+it.Kind.String())
		return
	}
	if why := f.refuses(name, path); why != "" {
		f.p.losses.add("name", path, why)
	}
	if it.UID != uint32(unix.Geteuid()) || it.GID != uint32(unix.Getegid()) {
		f.lacking("owner", path, fmt.Sprintf("%d:%d", it.UID, it.GID))
	}
	f.lacking("mode", path, fmt.Sprintf("%04o", it.Perm))
	if !plainTime(it.Mtime) || !plainTime(it.Atime) {
		f.lacking("time", path, "too fine, before 1901 or after 2038")
	}
	if it.Kind == file.KindRegular {
		if f.limits.File > 0 && it.Size > f.limits.File {
			f.p.losses.add("too_large", path, fmt.Sprintf("%d bytes", it.Size))
		}
		if it.Place.Alloc < it.Size {
			f.lacking("sparse", path, "it has holes")
		}
	}
	if err := f.look(it, name, path); err != nil && !errors.Is(err, unix.ENOENT) {
		f.p.lose("unreadable", path, err)
	}
}

// plainTime reports whether every filesystem stores t.
func plainTime(t file.Time) bool { return t.Nsec == 0 && t.Sec == int64(int32(t.Sec)) }

// refuses tells why the target cannot have an entry of that name, "" if it can.
func (f *foresight) refuses(name, path []byte) string {
	switch {
	case f.limits.Name > 0 && int64(len(name)) > f.limits.Name:
		return fmt.Sprintf("%d bytes long", len(name))
	case f.limits.Plain && !utf8.Valid(name):
		return "not UTF-8"
	case f.limits.Plain && bytes.ContainsFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`"*:<>?\|`, r) }):
		return "a character that the target does not allow"
	case !f.limits.Folds:
		return ""
	}
	hash := maphash.Bytes(f.p.seed, bytes.ToLower(path))
	if _, dup := f.names[hash]; dup {
		return "it differs from another name in case alone"
	}
	f.names[hash] = struct{}{}
	return ""
}

// look opens an entry, where it may be unreadable or its attributes matter.
func (f *foresight) look(it *file.Item, name, path []byte) error {
	dirs, meta := f.p.walk.Dirs, &f.w.meta
	switch {
	case it.Kind != file.KindRegular && it.Kind != file.KindDir:
		if !f.inside {
			return nil
		}
		dir, err := dirs.Acquire(it.Dir)
		if err != nil {
			return err
		}
		defer dirs.Release(it.Dir)
		x, err := meta.XattrsAt(dir, name)
		f.attributes(x, path)
		return err
	case !f.inside && (unix.Geteuid() == 0 || it.Kind == file.KindDir):
		return nil
	}
	open := it.Name
	if len(name) == 0 {
		open = dot
	}
	fd, err := dirs.Open(it.Dir, open)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !f.inside {
		return nil
	}
	x, err := meta.Xattrs(fd)
	f.attributes(x, path)
	if err != nil {
		return err
	}
	flags, project, err := meta.Flags(fd, it.Place.Dev)
	if gone := flags &^ f.limits.Flags; gone != 0 {
		f.lacking("flags", path, fmt.Sprintf("%#x", gone))
	}
	if project != 0 {
		f.lacking("project", path, fmt.Sprint(project))
	}
	return err
}

// attributes notes which extended attributes will be lost.
func (f *foresight) attributes(enc, path []byte) {
	for len(enc) > 0 {
		name, value, rest, err := file.NextXattr(enc)
		if err != nil {
			return
		}
		kind := xattrLoss(string(name))
		f.lacking(kind, path, string(name))
		if f.limits.Value > 0 && int64(len(value)) > f.limits.Value {
			f.p.losses.add(kind, path, fmt.Sprintf("%s of %d bytes", name, len(value)))
		}
		enc = rest
	}
}

// xattrLoss is the kind of loss of an attribute that a target does not take.
func xattrLoss(name string) string {
	space, _, _ := strings.Cut(name, ".")
	switch {
	case name == "security.capability":
		return "capability"
	case space == "user" || space == "trusted" || space == "security":
		return "xattr_" + space
	case strings.HasPrefix(name, "system.posix_acl_"):
		return "acl"
	}
	return "xattr_other"
}

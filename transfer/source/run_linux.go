package source

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
	"github.com/ferry-migrate/ferry/transfer/session"
)

// catchUps is how many passes follow one in which entries changed while they were read.
const catchUps = 2

// Run brings the target in step with cfg.Root: one pass, and up to two more for what changed meanwhile. It may be called again
// after any error; a temporary one means that the connection was lost. count is reset.
func Run(ctx context.Context, cfg *Config, count *Counters) (*Result, error) {
	began := time.Now()
	total := &Result{}
	for try := 0; ; try++ {
		r, left, err := runPass(ctx, cfg, count, try == catchUps)
		if err != nil {
			return nil, err
		}
		total.add(r)
		if len(left) == 0 {
			break
		}
		if try == catchUps {
			total.Changed = int64(len(left))
			total.Losses = MergeLosses(total.Losses, []Loss{{Kind: "changing", Count: int64(len(left)), Sample: left[:min(len(left), lossSamples)],
				Detail: "not the same before and after it was read", Remedy: sourceLosses["changing"]}})
			break
		}
		cfg.Log.Info("entries changed while they were read, or have to be sent again: another pass follows", "entries", len(left))
	}
	total.Seconds = time.Since(began).Seconds()
	return total, nil
}

// add takes over what a pass did. The first says what kind of pass it was.
func (r *Result) add(o *Result) {
	if r.Pass == "" {
		r.Pass, r.BytesSaved = o.Pass, o.BytesSaved
	}
	r.Files, r.Bytes, r.Verified, r.TargetLabel = o.Files, o.Bytes, o.Verified, o.TargetLabel
	r.BytesRead += o.BytesRead
	r.BytesRaw += o.BytesRaw
	r.Deleted += o.Deleted
	r.Differences, r.Differ, r.Losses = o.Differences, o.Differ, o.Losses
}

// runPass does one pass. left are the entries that the next one has to look at again; last says that there is none.
func runPass(ctx context.Context, cfg *Config, count *Counters, last bool) (r *Result, left []string, err error) {
	p, err := newPass(cfg, count)
	if err != nil {
		return nil, nil, err
	}
	p.last = last
	err = p.with(ctx, func(ctx context.Context, dir string) (err error) {
		r, err = p.run(ctx, dir)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return r, p.ledger.doubts(), nil
}

func newPass(cfg *Config, count *Counters) (p *pass, err error) {
	*count = Counters{}
	count.enter("scan")
	p = &pass{cfg: cfg, count: count, seed: maphash.MakeSeed(), differs: &differences{}}
	p.effort = &session.Effort{Chooser: cfg.Compress, Senders: cfg.Streams}
	p.losses = newLosses(cfg.Remedy)
	if p.excludes, err = NewExcludes(cfg.Root, cfg.Excludes); err != nil {
		return nil, err
	}
	p.tree, err = sourceTree(cfg)
	return p, err
}

// with calls f with a session to the target, and the state of this source and that target, open. dir is where the state lies.
func (p *pass) with(ctx context.Context, f func(ctx context.Context, dir string) error) (err error) {
	if err = p.open(ctx); err != nil {
		return err
	}
	defer func() { p.s.Close(session.ErrOver) }()
	dir := filepath.Join(sourceDir(p.cfg), fmt.Sprintf("%x", p.target.Tree))
	if p.store, err = manifest.OpenStore(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()
	if p.ledger, err = openLedger(dir); err != nil {
		return err
	}
	if err := f(p.s.Context(), dir); err != nil {
		return p.s.Why(err)
	}
	return nil
}

// run does the whole pass on an open session.
func (p *pass) run(ctx context.Context, dir string) (*Result, error) {
	started := p.cfg.instant()
	root, err := p.openWalk()
	if err != nil {
		return nil, err
	}
	defer p.walk.Close()
	peer, err := p.choose(dir)
	if err != nil {
		return nil, err
	}
	pass, err := p.begin(dir, peer)
	if err != nil {
		return nil, err
	}
	if err := p.settleBase(ctx, root); err != nil {
		return nil, err
	}
	h := manifest.Header{Tree: manifest.ID(p.target.Tree), Pass: manifest.ID(pass), Started: started, Root: root}
	if p.baseReader != nil {
		h.Base = p.baseReader.Header().Pass
	}
	w, err := p.store.Begin(h)
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("source.begun")
	p.written = p.store.PassPath()
	p.rec = newRecorder(w, !p.allDirs)
	if len(p.ledger.lost) > 0 {
		p.rec.sent = p.ledger.sent
	}
	p.noteMounts()
	if err := p.phases(ctx); err != nil {
		return nil, err
	}
	if err := p.commit(pass); err != nil {
		return nil, err
	}
	return p.result(), nil
}

// openWalk syncs the source's filesystem and begins to walk.
func (p *pass) openWalk() (root file.Identity, err error) {
	fd, bounded, err := openRoot(p.cfg.dir())
	if err != nil {
		return root, err
	}
	var alias file.Alias
	if err = syncfs(fd); err == nil {
		alias, err = p.cfg.alias(fd)
	}
	if err == nil {
		root, err = identify(fd, alias)
	}
	if err == nil {
		p.walk, err = file.NewWalk(fd, file.WalkOptions{Workers: workers(), Mounts: bounded, Skip: p.skip(), Alias: alias})
	}
	if err != nil {
		unix.Close(fd)
	}
	return root, err
}

// phases sends everything and verifies it.
func (p *pass) phases(ctx context.Context) error {
	p.count.enter("copy")
	for _, phase := range []func(context.Context) error{p.copy, p.links, p.deletes, p.directories} {
		if err := phase(ctx); err != nil {
			return err
		}
		crashpoint.Hit("source.phase")
	}
	if p.cfg.Verify == VerifyNone {
		return nil
	}
	return p.verify(ctx, false)
}

// commit makes the pass the base on both sides.
func (p *pass) commit(pass file.ID) error {
	seq := p.rec.raise()
	if err := p.s.Flush(seq); err != nil {
		return err
	}
	crashpoint.Hit("source.flushed")
	if err := p.replaceLeftovers(); err != nil {
		return fmt.Errorf("remember what stays on the target: %w", err)
	}
	crashpoint.Hit("source.left")
	p.losses.inherit(p.ledger.lost)
	if err := p.ledger.save(p.losses.byPath()); err != nil {
		return err
	}
	crashpoint.Hit("source.ledger")
	if err := p.s.Ask(file.MsgCommit, file.Commit{Pass: pass, Seq: seq}, file.MsgDone); err != nil {
		return err
	}
	crashpoint.Hit("source.done")
	if err := p.store.Commit(); err != nil {
		return err
	}
	crashpoint.Hit("source.committed")
	p.s.Bye((p.last || len(p.ledger.doubts()) == 0) && !p.cfg.MoreToCome())
	return nil
}

func (p *pass) result() *Result {
	c := p.count
	r := &Result{
		Pass: p.kind(), Files: c.files.Load(), Bytes: c.bytes.Load(), BytesRead: c.read.Load(), BytesRaw: c.raw.Load(),
		BytesSaved: c.saved.Load(), Deleted: p.deleted, Verified: p.cfg.Verify.String(), Losses: p.losses.list(),
		Differences: p.differs.count, Differ: p.differs.words, TargetLabel: p.target.Label,
	}
	return r
}

func (p *pass) kind() string {
	switch {
	case p.unclean:
		return "resume"
	case p.baseReader == nil:
		return "first"
	}
	return "sync"
}

// begin makes the pass known to both sides.
func (p *pass) begin(dir string, peer *peerState) (file.ID, error) {
	pass, err := newID()
	if err != nil {
		return pass, err
	}
	if err := peer.advance(dir, &p.target, pass); err != nil {
		return pass, err
	}
	crashpoint.Hit("source.peer")
	open := file.Open{Pass: pass, First: p.store.Base() == nil, Overwrite: p.cfg.Overwrite}
	return pass, p.s.Begin(open, p.cfg.Streams, &listener{p: p})
}

// settleBase decides what the target is compared with: the base of the store, or a listing of the target.
func (p *pass) settleBase(ctx context.Context, root file.Identity) error {
	if p.foreignBase {
		p.count.enter("compare")
		path := p.store.Scratch("compare")
		if err := p.list(ctx, path, true); err != nil {
			return fmt.Errorf("compare with the target: %w", err)
		}
		if err := p.store.Adopt(path); err != nil {
			return err
		}
	}
	p.baseReader = p.store.Base()
	p.allDirs = p.baseReader == nil || p.unclean || p.foreignBase
	p.strict = p.baseReader != nil
	if p.baseReader == nil {
		return nil
	}
	h := p.baseReader.Header()
	p.baseStarted = h.Started
	p.count.filesTotal.Store(p.baseReader.Totals().Entries)
	p.count.bytesTotal.Store(p.baseReader.Totals().Bytes)
	if !p.foreignBase && h.Root.Ino != 0 && !h.Root.SameInode(root) && !p.cfg.ForceDelete {
		return fault.Operator("FERRY-SOURCE-CHANGED", "mount the source as it was; if it is meant to be another directory, run again with --force-delete",
			fmt.Errorf("source %s is not the directory it was in the last pass (is a disk not mounted?)", p.cfg.Root))
	}
	return nil
}

// skip says what the walk leaves out.
func (p *pass) skip() func(dir, name []byte, kind file.Kind) bool {
	own := p.own()
	if p.excludes.Empty() && len(own) == 0 {
		return nil
	}
	return func(dir, name []byte, kind file.Kind) bool {
		for _, o := range own {
			if len(o) == joined(dir, name) && strings.HasSuffix(o, string(name)) && strings.HasPrefix(o, string(dir)) {
				return true
			}
		}
		return p.excludes.Match(dir, name, kind == file.KindDir)
	}
}

func joined(dir, name []byte) int {
	if len(dir) == 0 {
		return len(name)
	}
	return len(dir) + 1 + len(name)
}

// own returns Ferry's own directories below the source, as paths from its root.
func (p *pass) own() (paths []string) {
	for _, dir := range append([]string{p.cfg.State}, p.cfg.Own...) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(p.cfg.Root, real); err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
			paths = append(paths, rel)
		}
	}
	return paths
}

// noteMounts reports filesystems with content of their own that are mounted below the source: they are not entered.
func (p *pass) noteMounts() {
	root := p.cfg.Root
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		p.cfg.Log.Warn("mounts below the source are not known", "error", err)
		return
	}
	for _, m := range mounts {
		rel, err := filepath.Rel(root, m.Mountpoint)
		if err != nil || rel == "." || strings.HasPrefix(rel, "..") || volatile(m) || p.excludes.Covers([]byte(rel), true) {
			continue
		}
		p.losses.add("mount", []byte(rel), m.FSType+" from "+m.Source)
	}
}

// volatile reports whether a mount holds nothing that outlives a boot.
func volatile(m *mountinfo.Info) bool {
	if m.FSType != "tmpfs" {
		return pseudo[m.FSType]
	}
	for _, dir := range []string{"/run/", "/dev/", "/sys/", "/proc/", "/tmp/", "/var/run/"} {
		if strings.HasPrefix(m.Mountpoint+"/", dir) {
			return true
		}
	}
	return false
}

// pseudo are filesystems that hold no data of their own.
var pseudo = map[string]bool{
	"autofs": true, "binfmt_misc": true, "bpf": true, "cgroup": true, "cgroup2": true, "configfs": true, "debugfs": true, "devpts": true, "devtmpfs": true,
	"efivarfs": true, "fusectl": true, "hugetlbfs": true, "mqueue": true, "nsfs": true, "proc": true, "pstore": true, "ramfs": true, "rpc_pipefs": true,
	"securityfs": true, "selinuxfs": true, "sysfs": true, "tracefs": true,
}

func identify(fd int, alias file.Alias) (file.Identity, error) {
	m := file.MetaReader{Alias: alias}
	var e file.Entry
	if _, err := m.Stat(fd, nil, &e); err != nil {
		return e.Identity, fmt.Errorf("identify source: %w", err)
	}
	var err error
	if e.Gen, _, err = m.Handle(fd, nil); err != nil {
		return e.Identity, fmt.Errorf("identify source: %w", err)
	}
	return e.Identity, nil
}

// syncfs writes back dirty pages of the source's filesystem: pages mapped for writing are write-protected by that, so that a
// later store shows in the inode's times.
func syncfs(fd int) error {
	err := unix.Syncfs(fd)
	if err == unix.ENOSYS {
		unix.Sync()
		return nil
	}
	if err != nil {
		return fmt.Errorf("sync source filesystem: %w", err)
	}
	return nil
}

// sourceDir is where the state of all targets of one source path lies.
func sourceDir(cfg *Config) string {
	return filepath.Join(cfg.State, "sources", pathKey(cfg.label()))
}

// sourceTree returns the identifier of the source path in this state directory, made when first needed.
func sourceTree(cfg *Config) (id file.ID, err error) {
	dir := sourceDir(cfg)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, fmt.Errorf("make state directory: %w", err)
	}
	return loadID(filepath.Join(dir, "source.id"))
}

// label is the source path as people know it.
func (c *Config) label() string { return filepath.Clean(c.Root) }

func (c *Counters) enter(phase string) { c.phase.Store(&phase) }

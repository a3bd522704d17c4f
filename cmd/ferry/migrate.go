package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/source"
)

// migrateFlags are what a person says about a migration.
type migrateFlags struct {
	to, pair, limit, compress, level, memory, verify string
	excludes                                         []string
	excludeFrom                                      string
	streams                                          int
	sync                                             bool
	interval, hookTimeout                            time.Duration
	beforeFreeze, afterThaw, snapshot                string
	freezeBound                                      time.Duration
	strict, overwrite, noDelete, forceDelete         bool
	controller, state                                string
	dryRun, json                                     bool
}

// migrateCommand moves directories or a disk once, or keeps them in step.
func migrateCommand() *cobra.Command {
	f := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "migrate SOURCE… --to TARGET",
		Short: "Copy directories or a disk to another machine or place, and keep them in step",
		Long: "Copy directories with every detail to a directory on this machine (--to dir:PATH) or to a `ferry target` on another\n" +
			"(--to HOST[:PORT]). Running it again sends only what changed; after an interruption it resumes.\n\n" +
			"One SOURCE: its content becomes the content of the target. Several: each under its base name.\n\n" +
			"A SOURCE that is a disk, a partition, a volume or an image file is copied block by block, only what is in use, to an image\n" +
			"file (--to image:PATH), a disk (--to device:PATH), or a `ferry target` that receives into one.",
		Example: "  ferry migrate /srv/data --to dir:/mnt/new\n" +
			"  ferry migrate /srv/data --to 192.0.2.7 --pair CODE --limit 200Mbit\n" +
			"  ferry migrate / --to newhost --sync --exclude /var/cache\n" +
			"  ferry migrate /dev/vdb --to device:/dev/vdc",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := f.migration(args)
			if err != nil {
				return err
			}
			m.screen = newScreen(newRenderer(cmd.OutOrStdout(), cmd.ErrOrStderr(), f.json))
			if f.dryRun {
				return m.dryRun(cmd.Context())
			}
			return m.run(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "where to: dir:PATH, image:PATH, device:PATH, or HOST[:PORT] of a ferry target")
	fl.StringVar(&f.level, "type", "", "file or block; found out from SOURCE when not given")
	fl.StringVar(&f.pair, "pair", "", "pairing code that the target printed: CODE, @FILE, or - to read it from standard input; FERRY_PAIR too")
	fl.StringVar(&f.limit, "limit", "0", "rate on the wire: 200Mbit, 25MiB, 0 for none, or windows such as 08:00-18:00=100Mbit,18:00-08:00=0")
	fl.StringVar(&f.compress, "compress", "auto", "auto, none, s2 or zstd")
	fl.StringArrayVar(&f.excludes, "exclude", nil, "leave out a path, a name or a pattern; repeatable")
	fl.StringVar(&f.excludeFrom, "exclude-from", "", "file with one --exclude a line")
	fl.IntVar(&f.streams, "streams", 0, "data connections (default: 2 to 4, by processors)")
	fl.StringVar(&f.memory, "memory", "64MiB", "memory to stay within, about")
	fl.BoolVar(&f.sync, "sync", false, "keep syncing until cutover (SIGUSR1 or ferry task cutover)")
	fl.DurationVar(&f.interval, "interval", 5*time.Second, "pause between syncs when there is no backlog")
	fl.StringVar(&f.beforeFreeze, "before-freeze", "", "command to run before the last pass or its freeze, for example to flush a database")
	fl.StringVar(&f.afterThaw, "after-thaw", "", "command to run after the last pass, or once it has its snapshot")
	fl.StringVar(&f.snapshot, "snapshot", "none", "read the last pass at one point in time: auto, freeze, lvm, btrfs or none")
	fl.DurationVar(&f.freezeBound, "freeze-bound", snapshot.Bound, "how long --snapshot freeze may keep the source frozen")
	fl.DurationVar(&f.hookTimeout, "hook-timeout", time.Minute, "how long a hook may take")
	fl.StringVar(&f.verify, "verify", "full", "what to read back and compare: none, quick or full")
	fl.BoolVar(&f.strict, "strict", false, "exit with 3 if something could not be kept")
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace what others wrote in the target")
	fl.BoolVar(&f.noDelete, "no-delete", false, "keep on the target what the source has no more")
	fl.BoolVar(&f.forceDelete, "force-delete", false, "delete even if that is more than half of the target, or the source is another directory than before")
	fl.StringVar(&f.controller, "controller", "", "URL of a controller to report to; its key is read from CLOUD_SDK_AK and CLOUD_SDK_SK")
	fl.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per line")
	return cmd
}

// migration turns flags into something that can run. Its errors are about the command line and the source.
func (f *migrateFlags) migration(args []string) (*migration, error) {
	switch {
	case len(args) == 0:
		return nil, usagef("say what to migrate: ferry migrate SOURCE… --to TARGET")
	case f.to == "":
		return nil, usagef("say where to: --to dir:PATH, image:PATH, device:PATH or HOST[:PORT]")
	case f.level != "" && f.level != "file" && f.level != "block":
		return nil, usagef("--type %s: give file or block", f.level)
	case f.streams < 0 || f.streams > maxStreams:
		return nil, usagef("--streams %d: give 1 to %d", f.streams, maxStreams)
	case f.interval <= 0 || f.hookTimeout <= 0:
		return nil, usagef("--interval and --hook-timeout are durations above zero, such as 30s")
	}
	m := &migration{flags: f}
	var err error
	if m.snapshot, err = snapshot.ParseMode(cmp.Or(f.snapshot, "none")); err != nil || f.freezeBound < 0 {
		return nil, usagef("--snapshot is one of auto, freeze, lvm, btrfs and none; --freeze-bound a duration such as 10s")
	}
	if m.limit, err = ratelimit.ParseLimit(f.limit); err != nil {
		return nil, withExit(exitUsage, err)
	}
	if m.memory, err = parseSize(f.memory); err != nil {
		return nil, withExit(exitUsage, err)
	}
	if m.to, err = parseTarget(f.to); err != nil {
		return nil, withExit(exitUsage, err)
	}
	if m.pair, err = pairingCode(f.pair); err != nil {
		return nil, err
	}
	if m.state, err = makeStateDir(f.state); err != nil {
		return nil, err
	}
	if blocks, err := f.blocks(args); err != nil || blocks {
		return m, errors.Join(err, m.addDisk(args))
	}
	if m.to.disk != "" {
		return nil, usagef("--to %s: a directory goes to dir:PATH, or to a ferry target that receives into one", f.to)
	}
	return m, m.addSources(args)
}

// blocks reports whether the sources are to be copied block by block: as --type says, or because the first is no directory.
func (f *migrateFlags) blocks(args []string) (bool, error) {
	if f.level != "" {
		return f.level == "block", nil
	}
	st, err := os.Stat(args[0])
	return err == nil && (st.Mode().IsRegular() || st.Mode()&os.ModeType == os.ModeDevice), nil
}

// addDisk checks the source disk and makes its configuration.
func (m *migration) addDisk(args []string) error {
	f := m.flags
	switch {
	case len(args) > 1:
		return usagef("one disk or image at a time: run ferry migrate once for each")
	case m.to.dir != "":
		return usagef("--to %s: a disk or an image goes to image:PATH, device:PATH, or to a ferry target that receives into one", f.to)
	case len(f.excludes) > 0 || f.excludeFrom != "":
		return usagef("--exclude: a disk is copied as a whole; migrate its directories to leave some out")
	case m.snapshot != snapshot.ModeNone:
		return usagef("--snapshot: a disk that is mounted is frozen for the last pass without it")
	}
	path, err := filepath.Abs(args[0])
	if err != nil {
		return usagef("source %q: %v", args[0], err)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return usagef("--type block: %s is a directory", path)
	}
	chooser, verify, err := m.manner()
	if err != nil {
		return err
	}
	m.disk = &block.Config{
		Path: realPath(path), State: m.state, Software: software(), Streams: m.streams(), Compress: chooser, Overwrite: f.overwrite, Verify: verify,
		Bound: f.freezeBound, BeforeFreeze: m.hook("before-freeze", f.beforeFreeze), AfterThaw: m.hook("after-thaw", f.afterThaw),
		Still: func(r snapshot.Report) { m.point = r }, Watch: &m.watch,
	}
	if m.to.disk != "" {
		m.disk.Writes = []string{filepath.Dir(m.to.disk)}
	}
	return nil
}

// manner returns how to compress and to verify.
func (m *migration) manner() (*codec.Chooser, source.Verify, error) {
	chooser, err := codec.ParseMode(m.flags.compress)
	if err != nil {
		return nil, 0, withExit(exitUsage, err)
	}
	if m.to.here() && m.flags.compress == "auto" { // nothing leaves this process
		chooser = codec.Fixed(codec.Off)
	}
	verify, err := parseVerify(m.flags.verify)
	return chooser, verify, err
}

const maxStreams = 16

// addSources checks the source directories and makes their configurations.
func (m *migration) addSources(args []string) error {
	f := m.flags
	chooser, verify, err := m.manner()
	if err != nil {
		return err
	}
	excludes, err := readExcludes(f)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, arg := range args {
		root, err := sourceRoot(arg)
		if err != nil {
			return err
		}
		cfg := &source.Config{
			Root: root, State: m.state, Software: software(), Streams: m.streams(), Compress: chooser, Excludes: excludes,
			Delete: !f.noDelete, ForceDelete: f.forceDelete, Overwrite: f.overwrite, Verify: verify, Own: agent.Own(root, m.state), Remedy: lossRemedy,
		}
		if len(args) > 1 {
			cfg.Into = filepath.Base(root)
			if other, dup := names[cfg.Into]; dup {
				return usagef("%s and %s would both become %s in the target: migrate them one by one", other, root, cfg.Into)
			}
			names[cfg.Into] = root
		}
		if _, err := source.NewExcludes(root, excludes); err != nil {
			return withExit(exitUsage, err)
		}
		if err := m.to.apartFrom(root); err != nil {
			return err
		}
		m.sources = append(m.sources, cfg)
	}
	return nil
}

// sourceRoot checks a SOURCE argument and returns its absolute path.
func sourceRoot(arg string) (string, error) {
	root, err := filepath.Abs(arg)
	if err != nil {
		return "", usagef("source %q: %v", arg, err)
	}
	st, err := os.Stat(root)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fault.Operator("FERRY-SOURCE-MISSING", "check the path; if it is on a disk, mount it", fmt.Errorf("source %s does not exist", root))
	case errors.Is(err, os.ErrPermission):
		return "", fault.Operator("FERRY-SOURCE-UNREADABLE", "run as root", fmt.Errorf("source: %w", err))
	case err != nil:
		return "", fmt.Errorf("source: %w", err)
	case !st.IsDir():
		return "", fault.Operator("FERRY-SOURCE-NOT-DIRECTORY", "give a directory, or --type block for a disk or an image file",
			fmt.Errorf("source %s is not a directory", root))
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", fmt.Errorf("source: %w", err)
	}
	return real, nil
}

// streams is how many data connections to use.
func (m *migration) streams() int {
	if m.flags.streams > 0 {
		return m.flags.streams
	}
	return max(2, min(4, runtime.NumCPU()))
}

func parseVerify(s string) (source.Verify, error) {
	for _, v := range []source.Verify{source.VerifyFull, source.VerifyQuick, source.VerifyNone} {
		if v.String() == s {
			return v, nil
		}
	}
	return 0, usagef("--verify %s: give none, quick or full", s)
}

// readExcludes returns the patterns of --exclude and --exclude-from.
func readExcludes(f *migrateFlags) ([]string, error) {
	patterns := f.excludes
	if f.excludeFrom == "" {
		return patterns, nil
	}
	file, err := os.Open(f.excludeFrom)
	if err != nil {
		return nil, usagef("--exclude-from: %v", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usagef("--exclude-from: %v", err)
	}
	return patterns, nil
}

// pairingCode returns the code that --pair or FERRY_PAIR stand for.
func pairingCode(flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv("FERRY_PAIR")
	}
	var text []byte
	var err error
	switch {
	case flag == "-":
		text, err = io.ReadAll(io.LimitReader(os.Stdin, 4096))
	case strings.HasPrefix(flag, "@"):
		text, err = os.ReadFile(flag[1:])
	default:
		return flag, nil
	}
	if err != nil {
		return "", usagef("--pair: %v", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// parseSize reads a number of bytes such as 96MiB.
func parseSize(s string) (int64, error) {
	n, err := ratelimit.ParseRate(s)
	if err != nil || strings.HasSuffix(strings.ToLower(s), "bit") || n != 0 && n < 32<<20 {
		return 0, fault.Operator("FERRY-MEMORY-SYNTAX", "give at least 32MiB, such as 64MiB or 1GiB", fmt.Errorf("--memory %s is no size that can work", s))
	}
	return n, nil
}

// verifyCommand compares everything without copying.
func verifyCommand() *cobra.Command {
	f := &migrateFlags{}
	cmd := &cobra.Command{
		Use:     "verify SOURCE --to TARGET",
		Short:   "Compare a directory or a disk with its copy, everything, without copying",
		Example: "  ferry verify /srv/data --to 192.0.2.7",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.limit, f.compress, f.memory, f.verify, f.interval, f.hookTimeout = "0", "auto", "64MiB", "full", time.Second, time.Second
			m, err := f.migration(args)
			if err != nil {
				return err
			}
			m.screen = newScreen(newRenderer(cmd.OutOrStdout(), cmd.ErrOrStderr(), f.json))
			return m.verifyOnly(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "the copy: dir:PATH, image:PATH, device:PATH, or HOST[:PORT] of a ferry target")
	fl.StringVar(&f.pair, "pair", "", "pairing code that the target printed: CODE, @FILE or -; FERRY_PAIR too")
	fl.StringArrayVar(&f.excludes, "exclude", nil, "leave out a path, a name or a pattern; repeatable")
	fl.StringVar(&f.excludeFrom, "exclude-from", "", "file with one --exclude a line")
	fl.IntVar(&f.streams, "streams", 0, "data connections (default: 2 to 4, by processors)")
	fl.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per line")
	return cmd
}

// interrupted says how to go on after a stop.
func interrupted(err error) error {
	if fault.Cancelled(err) && !errors.Is(err, context.DeadlineExceeded) {
		return withExit(exitInterrupted, errors.New("interrupted: run the same command again to resume"))
	}
	return err
}

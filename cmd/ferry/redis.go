package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// redisFlags are what a person says about a migration of Redis.
type redisFlags struct {
	from, to, limit, state, onExisting, flush string
	once, scan, json                          bool
	dbs                                       []int
	mapDB, include, exclude, types, commands  []string
	settle                                    time.Duration
	objects                                   redis.ObjectStore
}

// redisMemory is what the process may take before it collects garbage all the time, bytes.
const redisMemory = 96 << 20

// redisCommand moves Redis servers.
func redisCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "Copy a Redis server to another one, and keep it in step",
		Long: "Servers are URLs: redis://[user:password@]host[:port], rediss:// for TLS, unix:///path/of/socket. So that no password shows in a\n" +
			"list of processes, write @FILE for a file that holds the URL, or set FERRY_REDIS_FROM and FERRY_REDIS_TO.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usagef("say what to do: migrate, import or compare") },
	}
	cmd.AddCommand(redisMigrateCommand(), redisImportCommand(), redisCompareCommand())
	return cmd
}

func redisMigrateCommand() *cobra.Command {
	f := &redisFlags{}
	cmd := &cobra.Command{
		Use:   "migrate --from URL --to URL",
		Short: "Follow a source as its replica until cutover (SIGUSR1), or copy it once",
		Example: "  ferry redis migrate --from redis://old:6379 --to redis://new:6379 --once\n" +
			"  ferry redis migrate --from redis://a:6379,b:6379 --to @/etc/ferry/new-redis --exclude 'session:*'",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := f.migration(true)
			if err != nil {
				return err
			}
			return f.show(cmd, m, m.Run)
		},
	}
	f.add(cmd, true)
	cmd.Flags().BoolVar(&f.once, "once", false, "end when the target has what the source had at the end of the full copy")
	cmd.Flags().BoolVar(&f.scan, "scan", false, "read with SCAN and keyspace notifications, for a source that lets nobody replicate; promises less")
	cmd.Flags().StringSliceVar(&f.commands, "exclude-command", nil, "leave out a command of the source's stream; repeatable")
	return cmd
}

func redisImportCommand() *cobra.Command {
	f := &redisFlags{}
	cmd := &cobra.Command{
		Use:   "import FILE… --to URL",
		Short: "Put RDB and AOF files on a target, in their order; a FILE may be an http or https URL, or s3://BUCKET/KEY",
		Long: "A FILE s3://BUCKET/KEY lies in the S3-compatible store at --s3-endpoint; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are its access\n" +
			"key, none for objects that anyone may read.",
		Example: "  ferry redis import dump.rdb --to redis://new:6379\n  ferry redis import appendonlydir/appendonly.aof.manifest --to redis://new:6379",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("say what to import: ferry redis import FILE… --to URL")
			}
			m, err := f.migration(false)
			if err != nil {
				return err
			}
			return f.show(cmd, m, func(ctx context.Context) error { return m.Import(ctx, args) })
		},
	}
	f.add(cmd, false)
	cmd.Flags().StringVar(&f.objects.Endpoint, "s3-endpoint", "", "URL of the object store of s3:// files")
	cmd.Flags().StringVar(&f.objects.Region, "s3-region", "", "region of the object store (default us-east-1)")
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "only values of this type in snapshots: string, list, set, zset, hash, stream; repeatable")
	return cmd
}

func redisCompareCommand() *cobra.Command {
	f := &redisFlags{}
	cmd := &cobra.Command{
		Use:   "compare --from URL --to URL",
		Short: "Compare every key of two servers: existence, type, expiry, value",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.comparison()
			if err != nil {
				return err
			}
			return f.showComparison(cmd, c)
		},
	}
	fl := cmd.Flags()
	f.addServers(cmd, true)
	f.addFilter(cmd)
	fl.DurationVar(&f.settle, "settle", 0, "how long a key that differs may take to become equal, while a migration follows")
	return cmd
}

// noArguments is for commands that take flags only.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%q is too much: this command takes flags only", args[0])
	}
	return nil
}

// add declares the flags of whatever writes to a target.
func (f *redisFlags) add(cmd *cobra.Command, from bool) {
	f.addServers(cmd, from)
	f.addFilter(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	fl.StringVar(&f.onExisting, "on-existing", "", "what to do with keys the target has: replace, skip or fail (default: the target must be empty)")
	fl.StringVar(&f.flush, "flush", "apply", "when the source is emptied: apply, skip or fail")
}

func (f *redisFlags) addServers(cmd *cobra.Command, from bool) {
	fl := cmd.Flags()
	if from {
		fl.StringVar(&f.from, "from", os.Getenv("FERRY_REDIS_FROM"), "URL of the source, or @FILE that holds it; several hosts with commas are one system")
		fl.Lookup("from").DefValue = "" // it may hold a password
	}
	fl.StringVar(&f.to, "to", os.Getenv("FERRY_REDIS_TO"), "URL of the target, or @FILE that holds it")
	fl.Lookup("to").DefValue = ""
	fl.StringVar(&f.limit, "limit", "0", "rate of reading the source: 200Mbit, 25MiB, 0 for none, or windows such as 08:00-18:00=100Mbit,18:00-08:00=0")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per line")
}

func (f *redisFlags) addFilter(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntSliceVar(&f.dbs, "db", nil, "only this database of the source; repeatable")
	fl.StringSliceVar(&f.mapDB, "map-db", nil, "put a database of the source into another one of the target: 1=7; repeatable")
	fl.StringArrayVar(&f.include, "include", nil, "only keys that match the pattern, as KEYS takes it; repeatable")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "leave out keys that match the pattern; repeatable")
}

// server reads the URL of one side.
func server(flag, text string) (resp.Endpoint, error) {
	if file, found := strings.CutPrefix(text, "@"); found {
		content, err := os.ReadFile(file)
		if err != nil {
			return resp.Endpoint{}, usagef("--%s: %v", flag, err)
		}
		text = strings.TrimSpace(string(content))
	}
	if text == "" {
		return resp.Endpoint{}, usagef("say --%s URL", flag)
	}
	e, err := resp.ParseEndpoint(text)
	return e, withExit(exitUsage, err)
}

// filter reads the flags that say what to move.
func (f *redisFlags) filter() (redis.Filter, error) {
	out := redis.Filter{DBs: f.dbs, Include: f.include, Exclude: f.exclude, Types: f.types, Commands: f.commands}
	for _, pair := range f.mapDB {
		from, to, _ := strings.Cut(pair, "=")
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b < 0 {
			return out, usagef("--map-db %s: give FROM=TO, for example 1=7", pair)
		}
		if out.MapDB == nil {
			out.MapDB = map[int]int{}
		}
		out.MapDB[a] = b
	}
	switch f.flush {
	case "apply", "": // what the zero value says
	case "skip", "fail":
		out.Flush = redis.FlushPolicy(f.flush)
	default:
		return out, usagef("--flush %s: apply, skip or fail", f.flush)
	}
	return out, nil
}

// limiter is the one of --limit.
func (f *redisFlags) limiter() (ratelimit.Limiter, error) {
	schedule, err := ratelimit.ParseLimit(f.limit)
	if err != nil {
		return nil, withExit(exitUsage, err)
	}
	return ratelimit.NewBucket(schedule), nil
}

// migration turns flags into something that can run.
func (f *redisFlags) migration(from bool) (*redis.Migration, error) {
	c := redis.Config{Once: f.once, Scan: f.scan, OnExisting: redis.Existing(f.onExisting)}
	switch c.OnExisting {
	case "", redis.Replace, redis.Skip, redis.Fail:
	default:
		return nil, usagef("--on-existing %s: replace, skip or fail", f.onExisting)
	}
	var err error
	if from {
		if c.From, err = server("from", f.from); err != nil {
			return nil, err
		}
	} else {
		f.objects.AccessKey, f.objects.SecretKey = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		c.Objects = &f.objects
	}
	if c.To, err = server("to", f.to); err != nil {
		return nil, err
	}
	if c.Filter, err = f.filter(); err != nil {
		return nil, err
	}
	if c.Limiter, err = f.limiter(); err != nil {
		return nil, err
	}
	if c.State, err = makeStateDir(f.state); err != nil {
		return nil, err
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return redis.New(c), nil
}

func (f *redisFlags) comparison() (c redis.CompareConfig, err error) {
	c.Settle = f.settle
	if c.From, err = server("from", f.from); err != nil {
		return c, err
	}
	if c.To, err = server("to", f.to); err != nil {
		return c, err
	}
	if c.Filter, err = f.filter(); err != nil {
		return c, err
	}
	c.Limiter, err = f.limiter()
	return c, err
}

// show runs a migration and shows how far it is and what it came to.
func (f *redisFlags) show(cmd *cobra.Command, m *redis.Migration, run func(context.Context) error) error {
	debug.SetMemoryLimit(redisMemory)
	s := newRedisScreen(cmd.OutOrStdout(), f.json)
	ended := make(chan error, 1)
	go func() { ended <- run(cmd.Context()) }()
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.progress(m.Progress())
		case <-cutoverSignal():
			m.Cutover()
		case err := <-ended:
			err = interrupted(err)
			s.result(m.Progress(), err)
			return err
		}
	}
}

// showComparison compares and shows what came out.
func (f *redisFlags) showComparison(cmd *cobra.Command, c redis.CompareConfig) error {
	debug.SetMemoryLimit(redisMemory)
	s := newRedisScreen(cmd.OutOrStdout(), f.json)
	result, err := redis.Compare(cmd.Context(), c)
	if err == nil && result.Differences > 0 {
		err = withExit(exitDifferent, errors.New(fmt.Sprint(result.Differences, " keys differ")))
	}
	err = interrupted(err)
	s.compared(result, err)
	return err
}

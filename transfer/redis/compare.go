package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// CompareConfig says what to compare. From and To are required.
type CompareConfig struct {
	From, To resp.Endpoint
	Filter   Filter            // as the migration had it; types and commands are not looked at
	Limiter  ratelimit.Limiter // of what is read from the source
	Settle   time.Duration     // how long a key that differs may take to become equal, in a migration that runs
}

// Comparison is what came out.
type Comparison struct {
	Keys        int64 // of the source
	Differences int64
	DBs         map[int]DBComparison // by database of the source
}

// DBComparison is what came out in one database.
type DBComparison struct {
	Keys                             int64
	Missing, Extra, Type, TTL, Value int64    // keys, each counted once
	Sample                           []string // some of them, with what is wrong
}

// Differences is the number of keys that are not the same.
func (d DBComparison) Differences() int64 { return d.Missing + d.Extra + d.Type + d.TTL + d.Value }

// What may be wrong with a key.
const (
	same    = ""
	missing = "missing on the target"
	extra   = "extra on the target"
	badType = "of another type"
	badTTL  = "with another expiry"
	badText = "with another value"
)

// Bounds of a comparison.
const (
	scanCount   = 512
	ttlWithin   = 1000    // milliseconds
	textAtOnce  = 4 << 20 // bytes of strings that are fetched together
	maxUnstable = 10_000  // keys that are looked at again
)

// comparer compares over one connection to each side.
type comparer struct {
	CompareConfig
	from, to *resp.Conn
	result   Comparison
	again    map[int][]string // keys that differed, to be looked at again, by database of the source
}

// Compare compares every key of the source with the target: existence both ways, type, expiry within a second, and the value, whole. It
// reads values page by page, so memory is bounded, and trusts nothing that a migration recorded. A key that differs is looked at
// again until Settle is over, so it may run while a migration follows.
func Compare(ctx context.Context, cfg CompareConfig) (Comparison, error) {
	c := &comparer{CompareConfig: cfg, result: Comparison{DBs: map[int]DBComparison{}}, again: map[int][]string{}}
	var err error
	if c.from, err = dialMaster(ctx, cfg.From, resp.Options{Limiter: cfg.Limiter}); err != nil {
		return c.result, fmt.Errorf("source: %w", err)
	}
	defer c.from.Close()
	if c.to, err = resp.Dial(ctx, cfg.To, resp.Options{}); err != nil {
		return c.result, fmt.Errorf("target: %w", err)
	}
	defer c.to.Close()
	dbs, err := c.databases()
	if err != nil {
		return c.result, err
	}
	for _, db := range dbs {
		if err := c.database(db); err != nil {
			return c.result, fmt.Errorf("database %d: %w", db, err)
		}
	}
	if err := c.settle(ctx); err != nil {
		return c.result, err
	}
	for _, d := range c.result.DBs {
		c.result.Keys += d.Keys
		c.result.Differences += d.Differences()
	}
	return c.result, nil
}

// databases are those of the source that either side has keys in.
func (c *comparer) databases() ([]int, error) {
	from, err := inspect(c.from)
	if err != nil {
		return nil, err
	}
	to, err := inspect(c.to)
	if err != nil {
		return nil, err
	}
	all := map[int]bool{}
	for db := range from.keys {
		all[db] = true
	}
	for db := range to.keys {
		all[db] = true
	}
	for db := range c.Filter.MapDB {
		all[db] = true
	}
	var dbs []int
	for _, db := range slices.Sorted(maps.Keys(all)) {
		if _, wanted := c.Filter.db(db); wanted {
			dbs = append(dbs, db)
		}
	}
	return dbs, nil
}

// enter selects a database on both sides.
func (c *comparer) enter(db int) error {
	to, _ := c.Filter.db(db)
	_, err := c.from.Do("SELECT", strconv.Itoa(db))
	if err == nil {
		_, err = c.to.Do("SELECT", strconv.Itoa(to))
	}
	return err
}

func (c *comparer) database(db int) error {
	if err := c.enter(db); err != nil {
		return err
	}
	err := scan(c.from, "SCAN", "", func(keys []resp.Reply) error {
		names := c.wanted(keys)
		d := c.result.DBs[db]
		d.Keys += int64(len(names))
		c.result.DBs[db] = d
		return c.page(db, names)
	})
	if err != nil {
		return err
	}
	return scan(c.to, "SCAN", "", func(keys []resp.Reply) error { return c.extras(db, c.wanted(keys)) })
}

// wanted are the keys that the filter lets pass, without the marks of migrations.
func (c *comparer) wanted(keys []resp.Reply) []string {
	var names []string
	for _, k := range keys {
		if c.Filter.name(k.Str) && !strings.HasPrefix(string(k.Str), markPrefix) {
			names = append(names, string(k.Str))
		}
	}
	return names
}

// scan goes through a cursor's pages. key is "" for SCAN itself.
func scan(c *resp.Conn, command, key string, each func([]resp.Reply) error) error {
	cursor := "0"
	for {
		args := []string{command, cursor, "COUNT", strconv.Itoa(scanCount)}
		if key != "" {
			args = []string{command, key, cursor, "COUNT", strconv.Itoa(scanCount)}
		}
		r, err := c.Do(args...)
		if err != nil {
			return err
		}
		if len(r.Array) != 2 {
			return fmt.Errorf("%w: an answer to %s", resp.ErrProtocol, command)
		}
		if err := each(r.Array[1].Array); err != nil {
			return err
		}
		if cursor = r.Array[0].Text(); cursor == "0" {
			return nil
		}
	}
}

// page compares some keys and notes those that differ.
func (c *comparer) page(db int, keys []string) error {
	found, err := c.judge(keys)
	if err != nil {
		return err
	}
	for i, what := range found {
		if what != same {
			c.note(db, keys[i], what)
		}
	}
	return nil
}

// note notes a key that differs, to be looked at again if there is time.
func (c *comparer) note(db int, key, what string) {
	if c.Settle > 0 && len(c.again[db]) < maxUnstable {
		c.again[db] = append(c.again[db], key)
		return
	}
	c.count(db, key, what)
}

func (c *comparer) count(db int, key, what string) {
	d := c.result.DBs[db]
	switch what {
	case missing:
		d.Missing++
	case extra:
		d.Extra++
	case badType:
		d.Type++
	case badTTL:
		d.TTL++
	default:
		d.Value++
	}
	if len(d.Sample) < maxSample {
		d.Sample = append(d.Sample, fmt.Sprintf("%q %s", key, what))
	}
	c.result.DBs[db] = d
}

// extras notes the keys of the target that the source does not have.
func (c *comparer) extras(db int, keys []string) error {
	commands := make([][]string, len(keys))
	for i, k := range keys {
		commands[i] = []string{"EXISTS", k}
	}
	replies, err := c.from.Pipeline(commands...)
	if err != nil {
		return err
	}
	for i, r := range replies {
		if r.Kind == resp.Integer && r.Int == 0 {
			c.note(db, keys[i], extra)
		}
	}
	return nil
}

// settle looks at the keys that differed until they are equal or the time is over.
func (c *comparer) settle(ctx context.Context) error {
	deadline := time.Now().Add(c.Settle)
	for {
		last := !time.Now().Before(deadline)
		left := 0
		for db, keys := range c.again {
			if err := c.enter(db); err != nil {
				return err
			}
			found, err := c.judge(keys)
			if err != nil {
				return err
			}
			c.again[db] = c.again[db][:0]
			for i, what := range found {
				switch {
				case what == same:
				case last:
					c.count(db, keys[i], what)
				default:
					c.again[db] = append(c.again[db], keys[i])
					left++
				}
			}
		}
		if last || left == 0 {
			return nil
		}
		if err := pause(ctx, min(c.Settle/10+time.Millisecond, time.Second)); err != nil {
			return err
		}
	}
}

// judge says of each key what is wrong with it.
func (c *comparer) judge(keys []string) ([]string, error) {
	ask := func(on *resp.Conn) ([]resp.Reply, error) {
		commands := make([][]string, 0, 3*len(keys))
		for _, k := range keys {
			commands = append(commands, []string{"TYPE", k}, []string{"PTTL", k}, []string{"STRLEN", k})
		}
		return on.Pipeline(commands...)
	}
	a, err := ask(c.from)
	if err != nil {
		return nil, err
	}
	b, err := ask(c.to)
	if err != nil {
		return nil, err
	}
	found := make([]string, len(keys))
	var texts []int
	size := int64(0)
	for i, key := range keys {
		a, b := a[3*i:3*i+3], b[3*i:3*i+3]
		found[i] = judgeHead(a, b)
		switch kind := a[0].Text(); {
		case found[i] != same || kind == "none":
		case kind == "string" && a[2].Int <= textAtOnce/16:
			texts = append(texts, i)
			if size += a[2].Int; size < textAtOnce {
				continue
			}
			err = c.texts(keys, texts, found)
			texts, size = texts[:0], 0
		default:
			var equal bool
			if equal, err = c.value(kind, key); !equal {
				found[i] = badText
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return found, c.texts(keys, texts, found)
}

// judgeHead judges type, expiry and length.
func judgeHead(a, b []resp.Reply) string {
	switch {
	case a[0].Text() == "none" && b[0].Text() != "none":
		return extra
	case a[0].Text() == "none": // it expired meanwhile
		return same
	case b[0].Text() == "none":
		return missing
	case a[0].Text() != b[0].Text():
		return badType
	case (a[1].Int < 0) != (b[1].Int < 0), a[1].Int-b[1].Int > ttlWithin, b[1].Int-a[1].Int > ttlWithin:
		return badTTL
	case a[0].Text() == "string" && a[2].Int != b[2].Int:
		return badText
	}
	return same
}

// texts compares short strings, several at once.
func (c *comparer) texts(keys []string, at []int, found []string) error {
	commands := make([][]string, len(at))
	for j, i := range at {
		commands[j] = []string{"GET", keys[i]}
	}
	a, err := c.from.Pipeline(commands...)
	if err != nil {
		return err
	}
	b, err := c.to.Pipeline(commands...)
	if err != nil {
		return err
	}
	for j, i := range at {
		if a[j].Kind != b[j].Kind || !bytes.Equal(a[j].Str, b[j].Str) {
			found[i] = badText
		}
	}
	return nil
}

// errPage ends a scan early.
var errPage = errors.New("different")

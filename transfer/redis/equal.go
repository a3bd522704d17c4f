package redis

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"

	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Pages of a value that are compared at once.
const (
	pageBytes    = 1 << 20
	pageElements = 512
)

// value compares a value of which type and expiry agree. Both sides hold the same number of elements and every element of the source
// is found on the target: so they are equal, whatever order a server keeps them in.
func (c *comparer) value(kind, key string) (bool, error) {
	switch kind {
	case "string":
		return c.pages(func(n int) []string {
			return []string{"GETRANGE", key, strconv.Itoa(n * pageBytes), strconv.Itoa((n+1)*pageBytes - 1)}
		})
	case "list":
		return c.pages(func(n int) []string {
			return []string{"LRANGE", key, strconv.Itoa(n * pageElements), strconv.Itoa((n+1)*pageElements - 1)}
		})
	case "set":
		return c.members("SCARD", "SSCAN", key, 1, func(e []resp.Reply) []string { return []string{"SISMEMBER", key, e[0].Text()} },
			func(_ []resp.Reply, r resp.Reply) bool { return r.Int == 1 })
	case "zset":
		return c.members("ZCARD", "ZSCAN", key, 2, func(e []resp.Reply) []string { return []string{"ZSCORE", key, e[0].Text()} },
			func(e []resp.Reply, r resp.Reply) bool { return sameScore(e[1].Text(), r.Text()) })
	case "hash":
		return c.members("HLEN", "HSCAN", key, 2, func(e []resp.Reply) []string { return []string{"HGET", key, e[0].Text()} },
			func(e []resp.Reply, r resp.Reply) bool { return r.Kind == resp.Bulk && bytes.Equal(e[1].Str, r.Str) })
	case "stream":
		return c.stream(key)
	}
	return c.both("DUMP", key) // a module's value; equal only if both sides write the same version
}

// sameScore compares numbers as servers of different versions print them.
func sameScore(a, b string) bool {
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	return errA == nil && errB == nil && x == y
}

// both sends a command to both sides and compares the answers.
func (c *comparer) both(args ...string) (bool, error) {
	a, err := c.from.Do(args...)
	if err != nil {
		return false, gone(err)
	}
	b, err := c.to.Do(args...)
	return reflect.DeepEqual(a, b), gone(err)
}

// gone drops the error of a server about a key: it was changed meanwhile, so it differs.
func gone(err error) error {
	if resp.KindOf(err) != "" {
		return nil
	}
	return err
}

// pages compares page after page, up to the first empty one.
func (c *comparer) pages(command func(n int) []string) (bool, error) {
	for n := 0; ; n++ {
		a, err := c.from.Do(command(n)...)
		if err != nil {
			return false, gone(err)
		}
		b, err := c.to.Do(command(n)...)
		if err != nil || !reflect.DeepEqual(a, b) {
			return false, gone(err)
		}
		if len(a.Str)+len(a.Array) == 0 {
			return true, nil
		}
	}
}

// members compares the number of elements and looks every element of the source up on the target. width is how many replies make one.
func (c *comparer) members(count, scanBy, key string, width int, ask func([]resp.Reply) []string, equal func([]resp.Reply, resp.Reply) bool) (bool, error) {
	if same, err := c.both(count, key); err != nil || !same {
		return false, err
	}
	err := scan(c.from, scanBy, key, func(page []resp.Reply) error {
		commands := make([][]string, 0, len(page)/width)
		for i := 0; i+width <= len(page); i += width {
			commands = append(commands, ask(page[i:i+width]))
		}
		replies, err := c.to.Pipeline(commands...)
		if err != nil {
			return err
		}
		for i, r := range replies {
			if !equal(page[i*width:(i+1)*width], r) {
				return errPage
			}
		}
		return nil
	})
	if errors.Is(err, errPage) {
		return false, nil
	}
	return err == nil, gone(err)
}

// stream compares entries page by page, the last id, and the groups as far as they tell.
func (c *comparer) stream(key string) (bool, error) {
	if same, err := c.both("XLEN", key); err != nil || !same {
		return false, err
	}
	from := "-"
	for {
		args := []string{"XRANGE", key, from, "+", "COUNT", strconv.Itoa(pageElements)}
		a, err := c.from.Do(args...)
		if err != nil {
			return false, gone(err)
		}
		b, err := c.to.Do(args...)
		if err != nil || !reflect.DeepEqual(a, b) {
			return false, gone(err)
		}
		if len(a.Array) < 2 { // the last entry comes again, to go on from it
			break
		}
		from = a.Array[len(a.Array)-1].Array[0].Text()
	}
	a, err := c.from.Do("XINFO", "STREAM", key)
	if err != nil {
		return false, gone(err)
	}
	b, err := c.to.Do("XINFO", "STREAM", key)
	if err != nil || field(a, "last-generated-id") != field(b, "last-generated-id") {
		return false, gone(err)
	}
	return c.both("XINFO", "GROUPS", key)
}

// field is the text behind a name in a reply of names and values.
func field(r resp.Reply, name string) string {
	for i := 0; i+1 < len(r.Array); i += 2 {
		if r.Array[i].Text() == name {
			return r.Array[i+1].Text()
		}
	}
	return ""
}

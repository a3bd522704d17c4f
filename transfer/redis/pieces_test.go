package redis_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/rdb"
)

// TestPieces builds every value of a snapshot from commands, whatever its size, and lets Redis judge.
func TestPieces(t *testing.T) {
	for _, limit := range []int{0, 1 << 30} { // decoded from the stream, and from memory
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			from, to := serve(t), serve(t)
			from.fill()
			from.do("CONFIG SET set-max-intset-entries 10")
			from.do("SADD set-strings-of-numbers 1 2 3 4 5 6 7 8 9 10 11 12")
			from.do("SAVE")
			build(t, filepath.Join(from.Dir, "dump.rdb"), to, limit)
			same(t, from, to)
			for _, key := range []string{"stream", "stream-empty"} {
				require.Equal(t, groups(from, key), groups(to, key))
			}
		})
	}
}

// groups is what XINFO tells of a stream, except when consumers were seen.
func groups(i *instance, key string) string {
	r := i.run("XINFO", "STREAM", key, "FULL", "COUNT", "0")
	text := ""
	for k := 0; k+1 < len(r.Array); k += 2 {
		switch name := r.Array[k].Text(); name {
		case "radix-tree-keys", "radix-tree-nodes": // how it is packed
		case "groups":
			for _, g := range r.Array[k+1].Array {
				for _, consumer := range g.Array[len(g.Array)-1].Array {
					for j := 0; j+1 < len(consumer.Array); j += 2 {
						if consumer.Array[j].Text() == "seen-time" {
							consumer.Array[j+1].Int = 0
						}
					}
				}
			}
			text += fmt.Sprint(r.Array[k+1])
		default:
			text += fmt.Sprint(name, r.Array[k+1], "\n")
		}
	}
	return text
}

// build puts a snapshot on a server by commands alone.
func build(t *testing.T, path string, to *instance, limit int) {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := rdb.NewReader(bufio.NewReaderSize(f, 4096), limit)
	require.NoError(t, err)
	c := to.conn()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		if e.What != rdb.Key {
			continue
		}
		_, err = c.Do("SELECT", strconv.Itoa(e.DB))
		require.NoError(t, err)
		key, at := string(e.Key), e.ExpireAt
		require.NoError(t, r.Commands(10, func(args [][]byte) error {
			words := make([]string, len(args))
			for i, a := range args {
				words[i] = string(a)
			}
			_, err := c.Do(words...)
			return err
		}), key)
		if at != 0 {
			_, err := c.Do("PEXPIREAT", key, strconv.FormatInt(at, 10))
			require.NoError(t, err)
		}
	}
}

// TestOldEncodings builds values in encodings that only servers before 7.0 wrote; Redis 7.0 still restores them, so it is the judge
// of the bytes as well as of what we read in them.
func TestOldEncodings(t *testing.T) {
	judge, to := serve(t), serve(t)
	long := strings.Repeat("l", 300)
	list := ziplist("a", "-1", "12", "13", "127", "-129", "40000", "-8388609", "5000000000", long, strings.Repeat("m", 20000))
	stored := func(b []byte) []byte {
		return append([]byte{0x80, byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	values := map[string]struct {
		t     rdb.Type
		value []byte
	}{
		"ziplist":       {rdb.ListZiplist, stored(list)},
		"quicklist":     {rdb.ListQuicklist, append([]byte{2}, append(stored(list), stored(ziplist("x", "y"))...)...)},
		"hash-ziplist":  {rdb.HashZiplist, stored(ziplist("f", "1", "g", long))},
		"zset-ziplist":  {rdb.ZSetZiplist, stored(ziplist("a", "-1.5", "b", "3"))},
		"zipmap":        {rdb.HashZipmap, stored([]byte("\x02\x03foo\x03\x00bar\x05hello\x05\x02world\x00\x00\xff"))},
		"list":          {rdb.List, []byte("\x02\x01a\xc1\x39\x30")},
		"zset-of-ascii": {rdb.ZSet, []byte("\x03\x01a\x041.25\x01b\xfe\x01c\xff")},
	}
	c, judged := to.conn(), judge.conn()
	for key, v := range values {
		e := rdb.Entry{Type: v.t, Value: v.value}
		_, err := judged.Do("RESTORE", key, "0", string(e.AppendPayload(nil)))
		require.NoError(t, err, key)
		snapshot := append([]byte("REDIS0004"), byte(v.t), byte(len(key)))
		snapshot = append(append(append(snapshot, key...), v.value...), 0xff)
		r, err := rdb.NewReader(bufio.NewReader(strings.NewReader(string(snapshot))), 0)
		require.NoError(t, err)
		_, err = r.Next()
		require.NoError(t, err)
		require.NoError(t, r.Commands(10, func(args [][]byte) error {
			words := make([]string, len(args))
			for i, a := range args {
				words[i] = string(a)
			}
			_, err := c.Do(words...)
			return err
		}), key)
		_, err = r.Next()
		require.ErrorIs(t, err, io.EOF)
	}
	same(t, judge, to)
}

// ziplist packs elements as ziplist.c does; what looks like a number becomes one.
func ziplist(elements ...string) []byte {
	var body []byte
	previous, last := 0, 10
	for _, e := range elements {
		var entry []byte
		if previous < 254 {
			entry = append(entry, byte(previous))
		} else {
			entry = binary.LittleEndian.AppendUint32([]byte{254}, uint32(previous))
		}
		n, err := strconv.ParseInt(e, 10, 64)
		switch {
		case err == nil && n >= 0 && n <= 12:
			entry = append(entry, 0xf1+byte(n))
		case err == nil && n == int64(int8(n)):
			entry = append(entry, 0xfe, byte(n))
		case err == nil && n == int64(int16(n)):
			entry = binary.LittleEndian.AppendUint16(append(entry, 0xc0), uint16(n))
		case err == nil && n >= -1<<23 && n < 1<<23:
			entry = append(entry, 0xf0, byte(n), byte(n>>8), byte(n>>16))
		case err == nil && n == int64(int32(n)):
			entry = binary.LittleEndian.AppendUint32(append(entry, 0xd0), uint32(n))
		case err == nil:
			entry = binary.LittleEndian.AppendUint64(append(entry, 0xe0), uint64(n))
		case len(e) < 64:
			entry = append(append(entry, byte(len(e))), e...)
		case len(e) < 16384:
			entry = append(append(entry, 0x40|byte(len(e)>>8), byte(len(e))), e...)
		default:
			entry = append(binary.BigEndian.AppendUint32(append(entry, 0x80), uint32(len(e))), e...)
		}
		last = 10 + len(body)
		previous = len(entry)
		body = append(body, entry...)
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(10+len(body)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(last))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(elements)))
	return append(append(b, body...), 255)
}

// TestLargeValues moves values far larger than what is kept in memory, and weighs the heap meanwhile.
func TestLargeValues(t *testing.T) {
	size := 24 << 20
	if os.Getenv("FERRY_SOAK") != "" {
		size = 2 << 30
	}
	from, to := serve(t, "--client-output-buffer-limit", "replica 0 0 0"), serve(t)
	c := from.conn()
	push := make([]string, 0, 1002)
	for range size / 1000 / 1000 {
		push = append(push[:0], "RPUSH", "list")
		for k := range 1000 {
			push = append(push, fmt.Sprintf("%01000d", k))
		}
		_, err := c.Do(push...)
		require.NoError(t, err)
	}
	from.do(fmt.Sprintf("SETRANGE string %d x", min(size, 500<<20)))
	add := make([]string, 0, 2002)
	for n := range size >> 22 {
		for _, command := range []string{"ZADD", "HSET", "SADD"} {
			add = append(add[:0], command, "large-"+command)
			for k := range 1000 {
				if command != "SADD" {
					add = append(add, fmt.Sprint(k))
				}
				add = append(add, fmt.Sprintf("%d:%d:%01000d", n, k, k))
			}
			_, err := c.Do(add...)
			require.NoError(t, err)
		}
	}
	from.do("PEXPIREAT list 1999999999999")
	runtime.GC()
	var peak uint64
	m := redis.New(redis.Config{From: from.at, To: to.at, State: t.TempDir(), Once: true})
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	var err error
	eventuallyWithin(t, func() bool {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		peak = max(peak, s.HeapAlloc)
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	require.NoError(t, err)
	same(t, from, to)
	require.Less(t, peak, uint64(128<<20))
	t.Logf("the heap had at most %d MiB", peak>>20)
}

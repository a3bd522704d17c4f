package rdb_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc64"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/redis/rdb"
)

// seeds are small snapshots by hand: a string, a compressed one, a list of old, a stream, an expiry, functions, a module.
var seeds = []string{
	"REDIS0009\xfa\x09redis-ver\x057.0.0\xfe\x02\xfb\x01\x01\xfc\x01\x02\x03\x04\x05\x06\x07\x08\xf8\x05\x00\x01k\x01v\xff",
	"REDIS0004\x00\x01k\xc3\x05\x0a\x00a\xe0\x00\x00\xff",
	"REDIS0010\xf5\x06#!lua\n\x07\x01m\x81\x00\x00\x00\x00\x00\x00\x04\x01\x02\x05\x05\x03abc\x00\x12\x01l\x01\x01\x03abc\xff",
	"REDIS0012\x18\x01h\x01\x00\x00\x00\x00\x00\x00\x00\x01\x05\x01f\x01v\xf4\x01\x02\x00\xff",
	"REDIS0011\x0f\x01s\x00\x00\x00\x00\x01\x01g\x00\x00\x01" + strings.Repeat("i", 16) + "\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01c\x00\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("i", 16) + "\xff",
}

// FuzzReader reads anything, keeps little and decodes all: no panic, no memory beyond what came, and a value passed over is as long as
// the same value decoded.
func FuzzReader(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 1<<20)
	}
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		read(t, b, limit&0xffff, false)
		read(t, b, limit&0xffff, true)
	})
}

// read reads a snapshot to its end or to the first error and returns the keys in it.
func read(t *testing.T, b []byte, limit int, decode bool) (keys []string) {
	r, err := rdb.NewReader(bufio.NewReaderSize(bytes.NewReader(b), 16), limit)
	if err != nil {
		return nil
	}
	for {
		e, err := r.Next()
		if err != nil {
			require.LessOrEqual(t, r.Bytes(), int64(len(b)))
			return keys
		}
		keys = append(keys, string(e.Key))
		if e.What == rdb.Key && !e.Large {
			require.LessOrEqual(t, len(e.AppendPayload(nil)), len(b)+11)
		}
		if e.What != rdb.Key || !decode || e.Type.Kind() == "module" {
			continue
		}
		size := 0
		err = r.Commands(12, func(args [][]byte) error {
			for _, a := range args {
				size += len(a)
			}
			if size > 64<<20 {
				return errors.New("a bomb")
			}
			return nil
		})
		if err != nil {
			return keys
		}
	}
}

// TestSeeds reads the seeds to their end, kept and taken apart.
func TestSeeds(t *testing.T) {
	for _, s := range seeds {
		b := []byte(s)
		if b[8] > '4' || b[7] > '0' {
			b = binary.LittleEndian.AppendUint64(b, ^crc64.Update(^uint64(0), crc64.MakeTable(0x95ac9329ac4bc9b5), b))
		}
		for _, limit := range []int{0, 1 << 20} {
			r, err := rdb.NewReader(bufio.NewReader(bytes.NewReader(append(b, "rest"...))), limit)
			require.NoError(t, err)
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, rdb.ErrTooLarge) {
				require.ErrorIs(t, err, io.EOF, "%q", s)
				require.EqualValues(t, len(b), r.Bytes())
			}
		}
		if b[8] > '4' || b[7] > '0' { // one bit, anywhere behind the head
			for i := 9; i < len(b); i++ {
				damaged := bytes.Clone(b)
				damaged[i] ^= 0x10
				r, err := rdb.NewReader(bufio.NewReader(bytes.NewReader(damaged)), 1<<20)
				for err == nil {
					_, err = r.Next()
				}
				require.NotErrorIs(t, err, io.EOF, "%q byte %d", s, i)
			}
		}
	}
}

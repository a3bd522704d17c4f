package redis

import (
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// server is what INFO tells about one.
type server struct {
	version int    // 7.0.15 is 70015; 0 if it does not say
	runID   string // new with every start
	cluster bool
	offset  int64 // of its replication stream
	replica bool
	keys    map[int]int64 // by database
	input   int64         // bytes a second that it reads
	ops     int64         // commands a second that it carries out
}

// inspect asks a server who it is.
func inspect(c *resp.Conn) (server, error) {
	r, err := c.Do("INFO")
	if err != nil {
		return server{}, err
	}
	s := server{keys: map[int]int64{}}
	for line := range strings.Lines(r.Text()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			s.version = parseVersion(value)
		case "run_id":
			s.runID = value
		case "cluster_enabled":
			s.cluster = value == "1"
		case "role":
			s.replica = value != "master"
		case "master_repl_offset":
			s.offset, _ = strconv.ParseInt(value, 10, 64)
		case "instantaneous_input_kbps": // KiB, in spite of its name
			rate, _ := strconv.ParseFloat(value, 64)
			s.input = int64(rate * 1024)
		case "instantaneous_ops_per_sec":
			s.ops, _ = strconv.ParseInt(value, 10, 64)
		default:
			number, isDB := strings.CutPrefix(name, "db")
			if db, err := strconv.Atoi(number); isDB && err == nil {
				count, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
				s.keys[db], _ = strconv.ParseInt(count, 10, 64)
			}
		}
	}
	return s, nil
}

func parseVersion(text string) int {
	v := 0
	parts := strings.SplitN(text, ".", 3)
	for i := range 3 {
		n := 0
		if i < len(parts) {
			n, _ = strconv.Atoi(parts[i])
		}
		v = v*100 + min(n, 99)
	}
	return v
}

// snapshots is the newest version of snapshots that the server reads.
func (s server) snapshots() int {
	for _, known := range []struct{ since, version int }{{70400, 12}, {70200, 11}, {70000, 10}, {50000, 9}, {40000, 8}, {30200, 7}} {
		if s.version >= known.since {
			return known.version
		}
	}
	return 6
}

// absolute reports whether RESTORE takes a point in time, and how long a key was idle.
func (s server) absolute() bool { return s.version >= 50000 }

// setUntil reports whether SET takes a point in time.
func (s server) setUntil() bool { return s.version >= 60200 }

// functions reports whether the server keeps libraries of functions.
func (s server) functions() bool { return s.version >= 70000 }

// total is the number of keys in all databases.
func (s server) total() (n int64) {
	for _, k := range s.keys {
		n += k
	}
	return n
}

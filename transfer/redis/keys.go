package redis

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// keySpec says which arguments of a command are keys: from first to last, every step-th; a negative last counts from the end.
type keySpec struct{ first, last, step int }

// keyTable holds the commands of a server, and with a bar between them their subcommands, in capitals.
type keyTable map[string]keySpec

// counted commands say how many keys follow: the argument that is the number. A key in front is in the table.
var counted = map[string]int{"ZUNIONSTORE": 2, "ZINTERSTORE": 2, "ZDIFFSTORE": 2, "EVAL": 2, "EVALSHA": 2, "FCALL": 2}

// readKeyTable asks a server, which knows the commands of its modules too.
func readKeyTable(c *resp.Conn) (keyTable, error) {
	r, err := c.Do("COMMAND")
	if err != nil {
		return nil, err
	}
	t := keyTable{}
	t.add(r.Array)
	return t, nil
}

// add reads the answer to COMMAND: name, arity, flags, first, last, step, and from 7.0 on as the tenth the subcommands.
func (t keyTable) add(commands []resp.Reply) {
	for _, c := range commands {
		if len(c.Array) < 6 {
			continue
		}
		t[strings.ToUpper(c.Array[0].Text())] = keySpec{int(c.Array[3].Int), int(c.Array[4].Int), int(c.Array[5].Int)}
		if len(c.Array) > 9 {
			t.add(c.Array[9].Array)
		}
	}
}

// keys returns which arguments of a command are keys.
func (t keyTable) keys(args [][]byte) (at []int) {
	name := strings.ToUpper(string(args[0]))
	s, known := t[name]
	if known && s.first == 0 && len(args) > 1 {
		if sub, found := t[name+"|"+strings.ToUpper(string(args[1]))]; found {
			s = sub
		}
	}
	last := s.last
	if last < 0 {
		last += len(args)
	}
	for i := s.first; i > 0 && i <= last && i < len(args); i += max(s.step, 1) {
		at = append(at, i)
	}
	if n := counted[name]; n > 0 && n < len(args) {
		count, _ := strconv.Atoi(string(args[n]))
		for i := n + 1; i <= n+count && i < len(args); i++ {
			if !slices.Contains(at, i) {
				at = append(at, i)
			}
		}
	}
	if name == "SORT" {
		for i := 2; i+1 < len(args); i++ {
			if strings.EqualFold(string(args[i]), "STORE") {
				at = append(at, i+1)
			}
		}
	}
	return at
}

// filter returns what is left of a command when only keys that match are moved: the raw command, a smaller one, or nil.
func (t keyTable) filter(args [][]byte, raw []byte, match func([]byte) bool) ([]byte, error) {
	keys := t.keys(args)
	wanted := make([]int, 0, len(keys))
	for _, i := range keys {
		if match(args[i]) {
			wanted = append(wanted, i)
		}
	}
	switch {
	case len(wanted) == len(keys): // also if it has no key
		return raw, nil
	case len(wanted) == 0:
		return nil, nil
	}
	name := strings.ToUpper(string(args[0]))
	width := 1
	switch name {
	case "DEL", "UNLINK":
	case "MSET":
		width = 2
	default:
		return nil, cannot(name+" on keys of which only some are migrated", "let --include and --exclude treat these keys alike")
	}
	left := resp.AppendArray(nil, 1+width*len(wanted))
	left = resp.AppendArg(left, name)
	for _, i := range wanted {
		for _, a := range args[i : i+width] {
			left = resp.AppendArg(left, a)
		}
	}
	return left, nil
}

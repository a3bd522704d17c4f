package redis

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// mark is the checkpoint that lies in the target as a key, in database 0, while changes go in: it is set in the transaction that carries
// them, so it says exactly what the target has.
type mark struct {
	Full  bool // a full copy was begun and not ended; the rest is not valid then
	Owned bool // the target was empty when we came: all it has is ours
	position
}

// markPrefix begins the key of every mark.
const markPrefix = "ferry:checkpoint:"

// markVersion begins the value; another one is not understood.
const markVersion = "ferry1"

func (m mark) String() string {
	return fmt.Sprintf("%s %t %t %s %d %d", markVersion, m.Full, m.Owned, m.Replid, m.Offset, m.DB)
}

func parseMark(text string) (m mark, err error) {
	words := strings.Split(text, " ")
	if len(words) != 6 || words[0] != markVersion {
		return m, fault.Operator("FERRY-REDIS-CHECKPOINT", "remove the key if no other Ferry works on this target",
			fmt.Errorf("a checkpoint on the target that nobody understands: %q", text))
	}
	m.Full, m.Owned, m.Replid = words[1] == "true", words[2] == "true", words[3]
	var errs [2]error
	m.Offset, errs[0] = strconv.ParseInt(words[4], 10, 64)
	m.DB, errs[1] = strconv.Atoi(words[5])
	return m, errors.Join(errs[:]...)
}

// record is what the state directory knows while the target has no mark: the stream was idle, and the mark was taken away so that the
// data sets are equal. It counts for the very process of the target that it was written for.
type record struct {
	Version   int    `json:"version"`
	Owned     bool   `json:"owned"`
	TargetRun string `json:"target_run"`
	Empty     bool   `json:"empty"` // the target had no key
	Broken    string `json:"broken,omitempty"`
	position
}

// identity names a migration: the same source or files, target and filter are the same one.
func identity(c *Config, files ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%+v\x00%q", c.From, c.To, c.Filter, files))
	return fmt.Sprintf("%x", sum[:6])
}

func (m *Migration) markKey() string    { return markPrefix + "{" + m.id + "}" }
func (m *Migration) recordPath() string { return filepath.Join(m.State, "redis-"+m.id+".json") }

func (m *Migration) readRecord() (r record, err error) {
	text, err := os.ReadFile(m.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Version != 1 {
		m.Log.Warn("the state is damaged, everything is copied again", "file", m.recordPath(), "error", err)
		return record{}, nil
	}
	return r, nil
}

func (m *Migration) writeRecord(r record) error {
	r.Version, r.Owned, r.TargetRun = 1, m.owned, m.target.runID
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(m.recordPath(), append(text, '\n'), 0o600)
}

// where finds out where to go on: nil is from the beginning. It sets m.owned.
func (m *Migration) where(c *resp.Conn) (*position, error) {
	r, err := c.Do("GET", m.markKey())
	if err != nil {
		return nil, err
	}
	rec, err := m.readRecord()
	if err != nil {
		return nil, err
	}
	m.recorded = true // what there is, is not true once something was applied
	if r.Kind == resp.Bulk {
		k, err := parseMark(r.Text())
		if err != nil {
			return nil, err
		}
		m.owned = k.Owned
		m.marked.Store(k.Offset)
		if k.Full || rec.Broken != "" {
			return nil, m.again(rec)
		}
		return &k.position, nil
	}
	total := m.target.total()
	if rec.TargetRun == m.target.runID && rec.Replid != "" && (rec.Empty || total > 0) {
		m.owned = rec.Owned
		m.marked.Store(-1)
		return &rec.position, nil
	}
	if rec.TargetRun == m.target.runID && rec.Replid == "" && total > 0 {
		m.owned = rec.Owned
		m.Log.Warn("the checkpoint on the target is gone, everything is copied again")
		return nil, m.again(rec)
	}
	m.owned = total == 0
	if !m.owned && m.OnExisting == "" {
		return nil, fault.Operator("FERRY-REDIS-TARGET-NOT-EMPTY", "empty it (FLUSHALL), or say what to do with keys it has: --on-existing replace, skip or fail",
			fmt.Errorf("the target %s has %d keys", m.To, total))
	}
	return nil, nil
}

// again checks that a full copy may be repeated: keys that an attempt before left behind must not be taken for those of others.
func (m *Migration) again(rec record) error {
	if m.owned || m.policy() == Replace {
		return nil
	}
	why := "an attempt before left keys that cannot be told from others"
	if rec.Broken != "" {
		why = rec.Broken
	}
	return fault.Operator("FERRY-REDIS-RESUME-LOST", "say --on-existing replace, or empty the target", errors.New(why))
}

// policy is what holds for existing keys: in a target that is all ours they are of an attempt before.
func (m *Migration) policy() Existing {
	if m.owned || m.OnExisting == "" {
		return Replace
	}
	return m.OnExisting
}

// begin makes the target ready for a full copy: what an attempt before left is removed.
func (m *Migration) begin(c *resp.Conn) error {
	if m.owned {
		for db, n := range m.target.keys {
			if n == 0 {
				continue
			}
			replies, err := c.Pipeline([]string{"SELECT", strconv.Itoa(db)}, []string{"FLUSHDB"}, []string{"SELECT", "0"})
			if err != nil {
				return err
			}
			for _, r := range replies {
				if r.Err() != nil {
					return refused(r, "FLUSHDB")
				}
			}
		}
	}
	return m.setMark(c, mark{Full: true, Owned: m.owned, position: position{Replid: "-"}})
}

func (m *Migration) setMark(c *resp.Conn, k mark) error {
	r, err := c.Pipeline([]string{"SET", m.markKey(), k.String()})
	if err == nil && r[0].Err() != nil {
		err = refused(r[0], "SET")
	}
	return err
}

// tidy takes the mark away when it still says pos, after pos is durable in the state directory. It changes nothing if more went in
// meanwhile.
func (m *Migration) tidy(ctx context.Context, pos position) error {
	m.records.Lock()
	defer m.records.Unlock()
	if m.received.Load().Offset != pos.Offset || m.marked.Load() < 0 {
		return nil
	}
	c, err := m.dialTarget(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Do("WATCH", m.markKey()); err != nil {
		return err
	}
	r, err := c.Do("GET", m.markKey())
	if err != nil {
		return err
	}
	if r.Kind != resp.Bulk {
		return errRestart
	}
	k, err := parseMark(r.Text())
	if err != nil || k.Full || k.Offset > pos.Offset {
		return err
	}
	s, err := inspect(c)
	if err != nil {
		return err
	}
	if s.runID != m.target.runID {
		return fault.Temporary(errors.New("the target was started again"))
	}
	if err := m.writeRecord(record{position: pos, Empty: s.total() <= 1}); err != nil {
		return err
	}
	m.recorded = true
	replies, err := c.Pipeline([]string{"MULTI"}, []string{"DEL", m.markKey()}, []string{"EXEC"})
	if err == nil && replies[2].Kind == resp.Array {
		m.marked.CompareAndSwap(k.Offset, -1)
	}
	return err
}

// announce is called before a batch goes to the target: from then on the record is not true any more. A mark that the target drops to
// save memory is then missed, not taken for one that was taken away.
func (m *Migration) announce(b *batch) error {
	m.records.Lock()
	defer m.records.Unlock()
	if b.n > 0 && m.recorded {
		if err := m.writeRecord(record{}); err != nil {
			return err
		}
		m.recorded = false
	}
	if m.received.Load().Offset == m.applied.Load().Offset {
		m.stats.oldestNs.Store(b.received.UnixNano())
	}
	m.received.Store(&b.at)
	return nil
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// position is a place in the replication stream of a source: right behind a command and outside of a transaction.
type position struct {
	Replid string `json:"replid"` // of the history that the offset counts in
	Offset int64  `json:"offset"` // bytes of the stream that were carried out
	DB     int    `json:"db"`     // of the source, selected there
}

// keepAlive is how often the source hears of us; it gives a replica up after 60 s.
const keepAlive = time.Second

// replica is a connection to the source that receives its changes as a replica does.
type replica struct {
	*resp.Conn
	full   bool // a snapshot comes first
	size   int64
	mark   string       // 40 bytes behind a snapshot of unknown size
	acked  atomic.Int64 // offset to acknowledge; -1 while the snapshot comes
	asked  chan struct{}
	joined chan struct{} // closed when nobody writes any more
	stop   context.CancelFunc
}

// follow asks a source for its changes since pos, or for a snapshot and the changes since it if pos is nil or too old for the source.
// at is where the stream goes on. Errors: FERRY-REDIS-PSYNC if the source lets nobody replicate.
func follow(ctx context.Context, e resp.Endpoint, o resp.Options, pos *position) (r *replica, at position, err error) {
	ctx, stop := context.WithCancel(ctx)
	c, err := dialMaster(ctx, e, o)
	if err != nil {
		stop()
		return nil, at, err
	}
	r = &replica{Conn: c, asked: make(chan struct{}, 1), joined: make(chan struct{}), stop: stop}
	if at, err = r.handshake(pos); err != nil {
		c.Close()
		stop()
		return nil, at, err
	}
	r.acked.Store(-1)
	if !r.full {
		r.acked.Store(at.Offset)
	}
	go r.acknowledge(ctx)
	return r, at, nil
}

// dialMaster connects to the first address that is a master, else to the first that answers: a replica can be followed as well.
func dialMaster(ctx context.Context, e resp.Endpoint, o resp.Options) (*resp.Conn, error) {
	if len(e.Addrs) == 1 || e.Master != "" {
		return resp.Dial(ctx, e, o)
	}
	for _, addr := range e.Addrs {
		c, err := resp.Dial(ctx, e.At(addr), o)
		if err != nil {
			continue
		}
		if s, err := inspect(c); err == nil && !s.replica {
			return c, nil
		}
		c.Close()
	}
	return resp.Dial(ctx, e, o)
}

func (r *replica) handshake(pos *position) (at position, err error) {
	if _, err = r.Do("PING"); err != nil {
		return at, err
	}
	if _, port, err := net.SplitHostPort(r.LocalAddr()); err == nil {
		if _, err = r.Do("REPLCONF", "listening-port", port); err != nil {
			return at, noReplica(err)
		}
	}
	// Servers before 4.0 refuse what they do not know of it, and go without.
	if _, err = r.Do("REPLCONF", "capa", "eof", "capa", "psync2"); err != nil && fault.ClassOf(err) == fault.ClassTemporary {
		return at, err
	}
	args := []string{"PSYNC", "?", "-1"}
	if pos != nil {
		args[1], args[2] = pos.Replid, strconv.FormatInt(pos.Offset+1, 10)
	}
	if err = r.Write(resp.AppendCommand(nil, args...)); err != nil {
		return at, err
	}
	line, err := r.head()
	if err != nil {
		return at, err
	}
	return r.answer(line, pos)
}

// head reads a line that is not empty: a source sends empty ones while it prepares.
func (r *replica) head() (string, error) {
	for {
		line, err := r.Line()
		if err != nil || line != "" {
			return line, err
		}
	}
}

// noReplica is err for a source that does not let us replicate.
func noReplica(err error) error {
	if fault.ClassOf(err) == fault.ClassTemporary {
		return err
	}
	return fault.Operator("FERRY-REDIS-PSYNC", "let the user replicate (ACL +psync +replconf), or read with --scan, which promises less", err)
}

// answer reads what the source says to PSYNC.
func (r *replica) answer(line string, pos *position) (at position, err error) {
	words := strings.Fields(line)
	switch {
	case len(words) >= 1 && words[0] == "+CONTINUE" && pos != nil:
		at = *pos
		if len(words) > 1 {
			at.Replid = words[1]
		}
		return at, nil
	case len(words) >= 3 && words[0] == "+FULLRESYNC":
		at.Replid = words[1]
		if at.Offset, err = strconv.ParseInt(words[2], 10, 64); err != nil || len(at.Replid) > 64 {
			return at, fmt.Errorf("%w: %q", resp.ErrProtocol, line)
		}
		r.full = true
		return at, nil
	case strings.HasPrefix(line, "-NOMASTERLINK"), strings.HasPrefix(line, "-LOADING"), strings.HasPrefix(line, "-TRYAGAIN"):
		return at, fault.Temporary(resp.Error(line[1:]))
	case strings.HasPrefix(line, "-"):
		return at, noReplica(fmt.Errorf("the source does not let itself be replicated: %w", resp.Error(line[1:])))
	}
	return at, fault.Permanent(fmt.Errorf("%w: %q in answer to PSYNC", resp.ErrProtocol, line))
}

// snapshot reads what announces the snapshot: its size, or the mark that will end it.
func (r *replica) snapshot() error {
	line, err := r.head()
	if err != nil {
		return err
	}
	if mark, found := strings.CutPrefix(line, "$EOF:"); found {
		if len(mark) != 40 {
			return fault.Permanent(fmt.Errorf("%w: a mark of %d bytes", resp.ErrProtocol, len(mark)))
		}
		r.mark = mark
		return nil
	}
	if strings.HasPrefix(line, "-") {
		return fault.Temporary(fmt.Errorf("the source could not save: %w", resp.Error(line[1:])))
	}
	if r.size, err = strconv.ParseInt(strings.TrimPrefix(line, "$"), 10, 64); err != nil || r.size < 0 {
		return fault.Permanent(fmt.Errorf("%w: %q before a snapshot", resp.ErrProtocol, line))
	}
	return nil
}

// snapshotRead checks that the snapshot, of which n bytes were read, ended where it should.
func (r *replica) snapshotRead(n int64) error {
	if r.mark == "" {
		if n != r.size {
			return fault.Permanent(fmt.Errorf("%w: a snapshot of %d bytes instead of %d", resp.ErrProtocol, n, r.size))
		}
		return nil
	}
	end, err := r.Buffer().Peek(len(r.mark))
	if err != nil {
		return err
	}
	if string(end) != r.mark {
		return fault.Permanent(fmt.Errorf("%w: a snapshot without its mark at the end", resp.ErrProtocol))
	}
	_, err = r.Buffer().Discard(len(r.mark))
	return err
}

// acknowledge tells the source how far we are: it is the only one that writes.
func (r *replica) acknowledge(ctx context.Context) {
	defer close(r.joined)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.asked:
		case <-ctx.Done():
			return
		}
		line := []byte("\n") // during the snapshot
		if n := r.acked.Load(); n >= 0 {
			line = resp.AppendCommand(nil, "REPLCONF", "ACK", strconv.FormatInt(n, 10))
		}
		if r.Write(line) != nil {
			return // the reader finds out
		}
	}
}

// ack sets the offset to acknowledge; at once if now is set.
func (r *replica) ack(offset int64, now bool) {
	r.acked.Store(offset)
	if now {
		select {
		case r.asked <- struct{}{}:
		default:
		}
	}
}

// close ends the connection and waits for whoever writes to it.
func (r *replica) close() {
	r.stop()
	r.Close()
	<-r.joined
}

// errFull says that the source cannot continue from where we are.
var errFull = errors.New("the source no longer has the changes since we were cut off")

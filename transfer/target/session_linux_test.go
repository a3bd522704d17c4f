package target_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// guest is a source that says whatever a test wants, to a receiver of its own.
type guest struct {
	t    *testing.T
	root string
	dial wire.DialFunc
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	dir := t.TempDir()
	g := &guest{t: t, root: filepath.Join(dir, "root")}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "outside"), []byte("safe"), 0o600))
	l, dial := wire.Local(wire.Options{})
	g.dial = dial
	r := &target.Receiver{Root: g.root, State: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, l.Close())
		require.NoError(t, <-served)
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, n := range names {
			require.Contains(t, []string{"outside", "root", "state"}, n.Name(), "something was written beside the root")
		}
		got, err := os.ReadFile(filepath.Join(dir, "outside"))
		require.NoError(t, err)
		require.Equal(t, "safe", string(got))
	})
	return g
}

// greet opens a session as the source tree with this number.
func (g *guest) greet(source byte, into string) (*wire.Session, error) {
	s, err := wire.Open(g.t.Context(), g.dial, wire.Hello{Features: []string{"file"}, Software: "test",
		Body: file.Greeting{SourceTree: file.ID{source}, Label: "/src", Into: into}})
	if err == nil {
		g.t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// opened greets, opens a pass and joins one data connection.
func (g *guest) opened() (*wire.Session, *wire.Conn) {
	g.t.Helper()
	s, err := g.greet(1, "")
	require.NoError(g.t, err)
	require.NoError(g.t, s.Control.SendMessage(file.MsgOpen, file.Open{Pass: file.ID{7}, First: true}))
	m, err := s.Control.ReadMessage()
	require.NoError(g.t, err)
	require.Equal(g.t, file.MsgOpened, m.Kind)
	c, err := s.Join(g.t.Context(), 0)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { c.Close() })
	return s, c
}

// failed returns the error that the target ended the session with.
func failed(t *testing.T, s *wire.Session) error {
	t.Helper()
	for {
		m, err := s.Control.ReadMessage()
		if err != nil {
			return err
		}
		if m.Kind == file.MsgFail {
			var f file.Fail
			require.NoError(t, m.Decode(&f))
			return f.Err()
		}
	}
}

func ops(payload []byte, seq, after uint64) (wire.Header, []byte) {
	return wire.Header{Type: wire.TypeOps, Seq: seq, After: after}, payload
}

func TestSessionRefusesOperationsThatLeaveTheRoot(t *testing.T) {
	meta := file.Meta{Kind: file.KindDir, Perm: 0o755}
	for name, payload := range map[string][]byte{
		"a name that climbs":    file.AppendMetaOp(file.AppendDir(nil, nil), file.OpMkdir, []byte(".."), &meta, 0),
		"a path that climbs":    file.AppendMetaOp(file.AppendDir(nil, []byte("../x")), file.OpMkdir, []byte("a"), &meta, 0),
		"an absolute path":      file.AppendMetaOp(file.AppendDir(nil, []byte("/tmp")), file.OpMkdir, []byte("a"), &meta, 0),
		"a name with a slash":   file.AppendMetaOp(file.AppendDir(nil, nil), file.OpMkdir, []byte("a/b"), &meta, 0),
		"an operation unknown":  {200},
		"no directory":          file.AppendMetaOp(nil, file.OpMkdir, []byte("a"), &meta, 0),
		"an operation cut off":  file.AppendDir(nil, []byte("abc"))[:3],
		"a link out of the way": file.AppendLink(file.AppendDir(nil, nil), []byte("l"), []byte("../outside")),
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newGuest(t).opened()
			h, p := ops(payload, 1, 0)
			require.NoError(t, c.WriteFrame(h, p))
			err := failed(t, s)
			require.Error(t, err)
			require.Equal(t, fault.ClassPermanent, fault.ClassOf(err), "%v", err)
		})
	}
}

func TestSessionRefusesFramesOutOfPlace(t *testing.T) {
	dir := file.AppendDir(nil, nil)
	t.Run("twice", func(t *testing.T) {
		s, c := newGuest(t).opened()
		for range 2 {
			h, p := ops(dir, 1, 0)
			require.NoError(t, c.WriteFrame(h, p))
		}
		require.ErrorContains(t, failed(t, s), "twice")
	})
	t.Run("before the pass is open", func(t *testing.T) {
		g := newGuest(t)
		s, err := g.greet(1, "")
		require.NoError(t, err)
		require.NoError(t, s.Control.SendMessage(file.MsgFlush, file.Flush{Seq: 1}))
		require.Error(t, failed(t, s))
	})
	t.Run("commit of another pass", func(t *testing.T) {
		s, _ := newGuest(t).opened()
		require.NoError(t, s.Control.SendMessage(file.MsgCommit, file.Commit{Pass: file.ID{8}}))
		require.ErrorContains(t, failed(t, s), "another pass")
	})
	t.Run("a message nobody knows", func(t *testing.T) {
		s, _ := newGuest(t).opened()
		require.NoError(t, s.Control.SendMessage("nonsense", nil))
		require.Error(t, failed(t, s))
	})
}

func TestSessionRefusesDirectoriesThatAreNoName(t *testing.T) {
	for _, into := range []string{"..", ".", "a/b", "/etc", "a\x00b"} {
		_, err := newGuest(t).greet(1, into)
		require.Error(t, err, "%q", into)
	}
}

func TestSessionKeepsWhatOthersWrote(t *testing.T) {
	g := newGuest(t)
	require.NoError(t, os.MkdirAll(g.root, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(g.root, "precious"), nil, 0o600))
	s, err := g.greet(1, "")
	require.NoError(t, err)
	require.NoError(t, s.Control.SendMessage(file.MsgOpen, file.Open{Pass: file.ID{7}, First: true}))
	require.Equal(t, "FERRY-TARGET-NOT-EMPTY", fault.CodeOf(failed(t, s)))
	require.FileExists(t, filepath.Join(g.root, "precious"))
}

func TestOneSessionAtATime(t *testing.T) {
	g := newGuest(t)
	first, _ := g.opened()
	_, err := g.greet(2, "")
	require.Equal(t, target.CodeBusy, fault.CodeOf(err), "another source has to wait")

	again, err := g.greet(1, "")
	require.NoError(t, err, "the same source lost its connection and comes back")
	require.Error(t, failed(t, first))
	require.NoError(t, again.Control.SendMessage(file.MsgOpen, file.Open{Pass: file.ID{9}, First: true}))
	m, err := again.Control.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, file.MsgOpened, m.Kind)
}

package source

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

func TestWhatTheTargetMayBe(t *testing.T) {
	one, two, other := file.ID{1}, file.ID{2}, file.ID{9}
	committed := peerState{Before: passMark{Pass: one, Committed: true}, Current: passMark{Pass: two, Committed: true}}
	cut := peerState{Before: passMark{Pass: one, Committed: true}, Current: passMark{Pass: two, Seq: 7}}
	unheard := peerState{Before: passMark{Pass: one, Committed: true}, Current: passMark{Pass: two}}
	for _, c := range []struct {
		name string
		peer peerState
		at   file.TreeReply
		want bool
	}{
		{"after the last pass", committed, file.TreeReply{Pass: two, Committed: true}, true},
		{"restored to the pass before", committed, file.TreeReply{Pass: one, Committed: true}, false},
		{"in the last pass, which was committed", committed, file.TreeReply{Pass: two, Seq: 99}, false},
		{"where it was cut off", cut, file.TreeReply{Pass: two, Seq: 7}, true},
		{"further than the source heard", cut, file.TreeReply{Pass: two, Seq: 9}, true},
		{"committed what the source did not", cut, file.TreeReply{Pass: two, Seq: 9, Committed: true}, true},
		{"restored to before an acknowledgement", cut, file.TreeReply{Pass: two, Seq: 6}, false},
		{"never heard of the pass", cut, file.TreeReply{Pass: one, Committed: true}, false},
		{"never heard of a pass without acknowledgement", unheard, file.TreeReply{Pass: one, Committed: true}, true},
		{"another's", committed, file.TreeReply{Pass: other, Committed: true}, false},
	} {
		require.Equal(t, c.want, c.peer.fits(&c.at), c.name)
	}
}

func TestIdentifierIsKeptAndDamageSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	a, err := loadID(path)
	require.NoError(t, err)
	b, err := loadID(path)
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.NoError(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	_, err = loadID(path)
	require.Equal(t, "FERRY-STATE-DAMAGED", fault.CodeOf(err))
}

func TestLedgerRemembersAcrossRuns(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	require.NoError(t, err)
	l.distrust([]byte("odd\xff\n"), reread)
	l.distrust([]byte("odd\xff\n"), resend)
	require.True(t, l.doubted([]byte("odd\xff\n")))
	require.NoError(t, l.save(map[string][]loss{"dev": {{Kind: "device"}}, "own": {{Kind: "owner"}}}))

	l, err = openLedger(dir)
	require.NoError(t, err)
	require.Equal(t, resend, l.trust([]byte("odd\xff\n")))
	require.Equal(t, trusted, l.trust([]byte("even")))
	l.sent([]byte("own"))
	require.NoError(t, l.save(nil))

	l, err = openLedger(dir)
	require.NoError(t, err)
	require.Empty(t, l.doubts())
	require.Contains(t, l.lost, "dev")
	require.NotContains(t, l.lost, "own")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "ledger"), []byte("{"), 0o600))
	_, err = openLedger(dir)
	require.Equal(t, "FERRY-STATE-DAMAGED", fault.CodeOf(err))
}

func TestLossesExplainDifferences(t *testing.T) {
	l := newLosses(func(string) string { return "run as root" })
	l.add("owner", []byte("f"), "uid 5")
	l.add("owner", []byte("f"), "uid 5")
	l.add("owner", []byte("g"), "uid 5")
	require.Equal(t, int64(2), l.list()[0].Count)
	require.Equal(t, "run as root", l.list()[0].Remedy)
	require.True(t, l.covers(file.Differ{Path: []byte("f"), Field: "owner"}))
	require.False(t, l.covers(file.Differ{Path: []byte("f"), Field: "content"}))
	require.False(t, l.covers(file.Differ{Path: []byte("h"), Field: "owner"}))
	merged := MergeLosses(l.list(), []Loss{{Kind: "owner", Count: 3, Sample: []string{"x"}}, {Kind: "acl", Count: 1}})
	require.Equal(t, int64(5), merged[0].Count)
	require.Len(t, merged, 2)
}

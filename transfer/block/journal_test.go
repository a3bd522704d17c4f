package block

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

func TestWhatTheTargetMayBe(t *testing.T) {
	one, two, other := file.ID{1}, file.ID{2}, file.ID{9}
	before := mark{Pass: one, Seq: 3, Committed: true}
	committed := journal{Before: before, Pass: two, Committed: true}
	cut := journal{Before: before, Pass: two, Seq: 7}
	unheard := journal{Before: before, Pass: two}
	for _, c := range []struct {
		name string
		j    journal
		at   Reply
		want bool
	}{
		{"after the last pass", committed, Reply{Pass: two, Committed: true}, true},
		{"restored to the pass before", committed, Reply{Pass: one, Seq: 3, Committed: true}, false},
		{"in the last pass, which was committed", committed, Reply{Pass: two, Seq: 99}, false},
		{"altered by others", committed, Reply{Pass: two, Committed: true, Altered: "written"}, false},
		{"where it was cut off", cut, Reply{Pass: two, Seq: 7}, true},
		{"further than the source heard", cut, Reply{Pass: two, Seq: 9}, true},
		{"committed what the source did not hear of", cut, Reply{Pass: two, Seq: 9, Committed: true}, true},
		{"behind what it acknowledged", cut, Reply{Pass: two, Seq: 6}, false},
		{"where the pass before left it, though this one was acknowledged", cut, Reply{Pass: one, Seq: 3, Committed: true}, false},
		{"where the pass before left it", unheard, Reply{Pass: one, Seq: 3, Committed: true}, true},
		{"in the pass before", unheard, Reply{Pass: one, Seq: 2}, false},
		{"in a pass of somebody else", unheard, Reply{Pass: other, Committed: true}, false},
		{"never received into", journal{}, Reply{}, false},
	} {
		require.Equal(t, c.want, c.j.fits(&c.at), c.name)
	}
}

func TestDamagedJournalIsSetAside(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), []byte("{"), 0o600))
	j, err := loadJournal(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.False(t, j.Pass.Known())
	require.FileExists(t, filepath.Join(dir, journalName+".damaged"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), []byte(`{"version":2}`), 0o600))
	_, err = loadJournal(dir, slog.New(slog.DiscardHandler))
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
}

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
)

// A state that a newer ferry wrote is refused, and left as it is.
func TestNewerState(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, versionName)
	for _, before := range []string{"", "0\n", "damaged", "1\n"} {
		if before != "" {
			require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
		}
		lock, err := LockState(dir)
		require.NoError(t, err, before)
		require.NoError(t, lock.Close())
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "1\n", string(text))
	}
	require.NoError(t, os.WriteFile(path, []byte("2\n"), 0o600))
	_, err := LockState(dir)
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "2\n", string(text))
	require.NoError(t, os.WriteFile(path, []byte("1\n"), 0o600))
	lock, err := LockState(dir)
	require.NoError(t, err, "the refusal let go of the lock")
	require.NoError(t, lock.Close())
}

func TestPurge(t *testing.T) {
	root := t.TempDir()
	dir, logs := filepath.Join(root, "state"), filepath.Join(root, "logs")
	require.NoError(t, Purge(dir, logs), "nothing to remove")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.MkdirAll(logs, 0o700))
	precious := filepath.Join(dir, "precious")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	require.Equal(t, "FERRY-NO-STATE", fault.CodeOf(Purge(dir, logs)))
	require.FileExists(t, precious)

	lock, err := LockState(dir)
	require.NoError(t, err)
	require.Equal(t, "FERRY-STATE-LOCKED", fault.CodeOf(Purge(dir, logs)))
	require.FileExists(t, precious)
	require.NoError(t, lock.Close())

	for _, name := range []string{logName, logName + ".1", "other.log"} {
		require.NoError(t, os.WriteFile(filepath.Join(logs, name), nil, 0o600))
	}
	require.NoError(t, Purge(dir, logs))
	require.NoDirExists(t, dir)
	left, err := os.ReadDir(logs)
	require.NoError(t, err)
	require.Len(t, left, 1, "what others wrote stays")
}

func TestHealth(t *testing.T) {
	now := time.Now()
	for code, s := range map[string]AgentStatus{
		"":                     {Source: "s", Contact: now.Add(-time.Hour)},
		"FERRY-SOURCE-DELETED": {Deleted: true},
		"FERRY-NO-CONTACT":     {Trouble: "refused", Contact: now.Add(-patience - time.Second)},
	} {
		require.Equal(t, code, fault.CodeOf(s.Health(now)))
	}
	require.NoError(t, (&AgentStatus{Trouble: "a moment", Contact: now.Add(-time.Second)}).Health(now))
	require.Error(t, (&AgentStatus{Trouble: "never once"}).Health(now))

	for line, s := range map[string]AgentStatus{
		"waiting for commands": {Source: "s"},
		"not registered yet":   {},
		"paused":               {Source: "s", Paused: true},
		"task t: COPY 41 %":    {Task: &report.Report{Task: "t", Subtask: "COPY", Percent: 41}},
		"the service cannot be reached: no route; none": {Trouble: errors.Join(errors.New("no route; none")).Error()},
	} {
		require.Equal(t, line, s.Line())
	}
}

package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestWriteFileReplacesWholeAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, durable.WriteFile(path, []byte("one"), 0o600))
	require.NoError(t, durable.WriteFile(path, []byte("two"), 0o640))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), st.Mode())
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.Error(t, durable.WriteFile(filepath.Join(dir, "missing", "f"), nil, 0o600))
}

func TestLockIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := durable.Lock(path)
	require.NoError(t, err)
	_, err = durable.Lock(path)
	require.Equal(t, "FERRY-STATE-LOCKED", fault.CodeOf(err))
	require.NoError(t, a.Close())
	b, err := durable.Lock(path)
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

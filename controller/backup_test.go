package controller_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/stretchr/testify/require"
)

// A backup of a control plane that is being written to is one instant of it: what was acknowledged before is in it, and it works
// somewhere else with the keys that it brings.
func TestBackup(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	p := startPlane(t, dir)
	before := p.create(example(t, "create_task_request.json"))
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.do("POST", "/v3/tasks", example(t, "create_task_request.json"))
			}
		}
	})
	file := filepath.Join(elsewhere, "backup.tar")
	err := controller.Backup(t.Context(), "sqlite:"+filepath.Join(dir, "controller.db"), p.KeyFile(), file)
	close(stop)
	writer.Wait()
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	left, err := filepath.Glob(filepath.Join(elsewhere, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)

	restored := t.TempDir()
	address, keyFile := "sqlite:"+filepath.Join(restored, "controller.db"), filepath.Join(restored, "keys.json")
	require.NoError(t, controller.Restore(t.Context(), address, keyFile, file, false))
	require.NoError(t, os.Rename(keyFile, filepath.Join(restored, "admin-key.json")))
	again := startPlane(t, restored)
	require.Equal(t, p.Key(), again.Key())
	require.Equal(t, before, again.show(before).ID)

	require.Equal(t, "FERRY-BACKUP", fault.CodeOf(controller.Backup(t.Context(), address, keyFile, file)), "no backup is replaced")
	require.Equal(t, "FERRY-STORE-EXISTS", fault.CodeOf(controller.Restore(t.Context(), address, keyFile, file, false)))
	require.Equal(t, "FERRY-CONTROLLER-RUNNING", fault.CodeOf(controller.Restore(t.Context(), address, keyFile, file, true)))
	require.Equal(t, before, again.show(before).ID, "a refused restore changes nothing")
	require.Equal(t, "FERRY-BACKUP-POSTGRES", fault.CodeOf(controller.Backup(t.Context(), "postgres://x/y", keyFile, file+"2")))
}

func TestRestoreReplaces(t *testing.T) {
	dir := t.TempDir()
	address, file := "sqlite:"+filepath.Join(dir, "controller.db"), filepath.Join(t.TempDir(), "backup.tar")
	keyFile := filepath.Join(dir, "admin-key.json")
	run := func(do func(s *controller.Server)) {
		s, err := controller.Start(t.Context(), controller.Config{Store: address})
		require.NoError(t, err)
		do(s)
		require.NoError(t, s.Close())
	}
	run(func(*controller.Server) {})
	require.NoError(t, controller.Backup(t.Context(), address, keyFile, file))
	key, err := controller.ReadKey(keyFile)
	require.NoError(t, err)

	// What came after the backup, and even a database that is damaged, gives way.
	require.NoError(t, os.Remove(keyFile))
	run(func(s *controller.Server) { require.NotEqual(t, key, s.Key()) })
	require.NoError(t, os.WriteFile(filepath.Join(dir, "controller.db"), []byte("no database"), 0o600))
	require.NoError(t, controller.Restore(t.Context(), address, keyFile, file, true))
	run(func(s *controller.Server) { require.Equal(t, key, s.Key()) })
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	archive := func(entries ...string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range entries {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: 1, Mode: 0o600}))
			_, err := w.Write([]byte("x"))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		file := filepath.Join(t.TempDir(), "backup.tar")
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
		return file
	}
	for name, refused := range map[string]struct{ file, code string }{
		"escape":  {archive("../../evil"), "FERRY-BACKUP"},
		"twice":   {archive("sealing.key", "sealing.key"), "FERRY-BACKUP"},
		"missing": {archive("controller.db"), "FERRY-BACKUP"},
		"none":    {filepath.Join(dir, "none"), "FERRY-BACKUP"},
		"damaged": {archive("controller.db", "sealing.key", "admin-key.json"), "FERRY-DATABASE"},
	} {
		err := controller.Restore(t.Context(), "sqlite:"+filepath.Join(dir, "controller.db"), filepath.Join(dir, "key"), refused.file, false)
		require.Equal(t, refused.code, fault.CodeOf(err), "%s: %v", name, err)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A copy of the database alone opens no secret.
func TestSealingKeyIsNeeded(t *testing.T) {
	dir := t.TempDir()
	address := "sqlite:" + filepath.Join(dir, "controller.db")
	s, err := controller.Start(t.Context(), controller.Config{Store: address})
	require.NoError(t, err)
	key := s.Key()
	require.NoError(t, s.Close())
	text, err := os.ReadFile(filepath.Join(dir, "controller.db"))
	require.NoError(t, err)
	require.NotContains(t, string(text), key.SecretKey)

	sealing := filepath.Join(dir, "sealing.key")
	info, err := os.Stat(sealing)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	start := func() string {
		s, err := controller.Start(t.Context(), controller.Config{Store: address})
		if err == nil {
			err = s.Close()
		}
		return fault.CodeOf(err)
	}
	require.NoError(t, os.Remove(sealing))
	require.Equal(t, "FERRY-SEALING-KEY", start(), "none")
	require.NoFileExists(t, sealing)
	require.NoError(t, os.WriteFile(sealing, []byte("00"), 0o600))
	require.Equal(t, "FERRY-SEALING-KEY", start(), "damaged")
}

package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// Two processes on one file: `ferry task` reads history while a migration runs.
func TestTwoHandlesOnOneFile(t *testing.T) {
	address := "sqlite:" + filepath.Join(t.TempDir(), "db")
	one, two := open(t, address), open(t, address)
	change(t, one, func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) })
	change(t, two, func(tx *store.Tx) error { return tx.CreateTask(newTask("b")) })
	view(t, one, func(tx *store.Tx) error {
		_, count, err := tx.Tasks(smsapi.TaskQuery{})
		require.Equal(t, 2, count)
		return err
	})
}

// Several control planes start at once on one new PostgreSQL.
func TestStartedTogether(t *testing.T) {
	address := storetest.Postgres(t)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			db, err := store.Open(t.Context(), address)
			if err != nil {
				t.Error(err)
				return
			}
			db.Close()
		})
	}
	group.Wait()
	open(t, address)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := store.Open(t.Context(), "sqlite:"+path)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = raw.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	_, err = store.Open(t.Context(), "sqlite:"+path)
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
}

// A database of the first ferry, whose only step was counted elsewhere, is taken over with its tasks.
func TestFirstSchemaIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	step, err := os.ReadFile("schema/0001_tasks.sql")
	require.NoError(t, err)
	_, err = raw.Exec(string(step) + `; PRAGMA user_version = 1;
		INSERT INTO tasks (id, name, state, source_id, enterprise_id, request, target_id, created) VALUES ('a', '', 'READY', '', '', '{}', '', 1)`)
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	view(t, open(t, "sqlite:"+path), func(tx *store.Tx) error {
		_, err := tx.Task("a")
		return err
	})
}

func TestOpenRefusals(t *testing.T) {
	for address, code := range map[string]string{
		"":                                    "FERRY-STORE",
		"sqlite:":                             "FERRY-STORE",
		"mysql://user:secret@host/db":         "FERRY-STORE",
		"postgres://user:secret@host:x/db":    "FERRY-STORE",
		"postgres://user:secret@127.0.0.1:1/": "FERRY-DATABASE",
	} {
		_, err := store.Open(t.Context(), address)
		require.Equal(t, code, fault.CodeOf(err), address)
		require.NotContains(t, err.Error(), "secret")
	}
}

// A PostgreSQL that ends every connection, as one that is restarted does, costs no request.
func TestConnectionsAreMadeAnew(t *testing.T) {
	address := storetest.Postgres(t)
	db := open(t, address)
	change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) })
	other, err := sql.Open("pgx", address)
	require.NoError(t, err)
	defer other.Close()
	for range 3 {
		_, err = other.Exec("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		require.NoError(t, err)
		change(t, db, func(tx *store.Tx) error { return add(tx, "a") })
		view(t, db, func(tx *store.Tx) error {
			_, err := tx.Task("a")
			return err
		})
	}
}

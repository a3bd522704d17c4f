package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// A suite is what both databases promise. Each family adds its own, in a file of its own.
type suite map[string]func(t *testing.T, db *store.DB)

// run runs every test of the suite on an empty database of each kind.
func (s suite) run(t *testing.T) {
	for name, address := range map[string]func(t testing.TB) string{
		"sqlite":   func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "db") },
		"postgres": storetest.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			for name, test := range s {
				t.Run(name, func(t *testing.T) { test(t, open(t, address(t))) })
			}
		})
	}
}

func open(t *testing.T, address string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestTransactions(t *testing.T) {
	suite{
		"a change is all or nothing":         testAllOrNothing,
		"a view must not write":              testViewMustNotWrite,
		"changes of one row come one by one": testOneByOne,
		"a lost change is repeated":          testCrossed,
		"a view is one snapshot":             testSnapshot,
	}.run(t)
}

func change(t *testing.T, db *store.DB, do func(tx *store.Tx) error) {
	t.Helper()
	require.NoError(t, db.Change(t.Context(), do))
}

func view(t *testing.T, db *store.DB, do func(tx *store.Tx) error) {
	t.Helper()
	require.NoError(t, db.View(t.Context(), do))
}

func testAllOrNothing(t *testing.T, db *store.DB) {
	boom := errors.New("boom")
	require.ErrorIs(t, db.Change(t.Context(), func(tx *store.Tx) error {
		require.NoError(t, tx.CreateTask(newTask("a")))
		return boom
	}), boom)
	err := db.View(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Task("a")
		return err
	})
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Error(t, db.Change(t.Context(), func(tx *store.Tx) error {
		require.NoError(t, tx.CreateTask(newTask("a")))
		return tx.CreateTask(newTask("a"))
	}), "an id is given once")
}

func testViewMustNotWrite(t *testing.T, db *store.DB) {
	require.Error(t, db.View(t.Context(), func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) }))
}

// Many count in one row at once: no count is lost.
func testOneByOne(t *testing.T, db *store.DB) {
	const writers, times = 8, 10
	change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) })
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range times {
				if err := db.Change(context.Background(), func(tx *store.Tx) error { return add(tx, "a") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, db, func(tx *store.Tx) error {
		task, err := tx.Task("a")
		require.Equal(t, int64(writers*times), task.Replicated)
		return err
	})
}

func add(tx *store.Tx, id string) error {
	task, err := tx.Task(id)
	if err != nil {
		return err
	}
	task.Replicated++
	return tx.SaveTask(task)
}

// Two changes take the same two rows in opposite order: on PostgreSQL one is ended, and tried again.
func testCrossed(t *testing.T, db *store.DB) {
	change(t, db, func(tx *store.Tx) error { return errors.Join(tx.CreateTask(newTask("a")), tx.CreateTask(newTask("b"))) })
	var group sync.WaitGroup
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		group.Go(func() {
			for range 20 {
				err := db.Change(context.Background(), func(tx *store.Tx) error { return errors.Join(add(tx, order[0]), add(tx, order[1])) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, db, func(tx *store.Tx) error {
		task, err := tx.Task("b")
		require.Equal(t, int64(40), task.Replicated)
		return err
	})
}

func testSnapshot(t *testing.T, db *store.DB) {
	change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) })
	view(t, db, func(tx *store.Tx) error {
		_, before, err := tx.Tasks(smsapi.TaskQuery{})
		require.NoError(t, err)
		change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask("b")) })
		_, after, err := tx.Tasks(smsapi.TaskQuery{})
		require.Equal(t, before, after)
		return err
	})
}

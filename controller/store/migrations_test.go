package store_test

import (
	"fmt"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/stretchr/testify/require"
)

func TestMigrations(t *testing.T) {
	suite{
		"a migration comes back as it was": testMigrationComesBack,
		"found by name and by machine":     testMigrationsFound,
		"logs are told once and bounded":   testMigrationLogs,
	}.run(t)
}

func addMigration(t *testing.T, db *store.DB, id, name, machine string, status dcsapi.Status) *store.Migration {
	t.Helper()
	m := &store.Migration{ID: id, Status: status, Machine: machine, Plan: store.Plan{Name: name, Type: dcsapi.Online}, Created: 5}
	change(t, db, func(tx *store.Tx) error { return tx.AddMigration(m) })
	return m
}

func testMigrationComesBack(t *testing.T, db *store.DB) {
	addMigration(t, db, "a", "name", "", dcsapi.ToConfigure)
	when := int64(9)
	var want *store.Migration
	change(t, db, func(tx *store.Tx) (err error) {
		if want, err = tx.Migration("a"); err != nil {
			return err
		}
		require.Nil(t, want.Passwords)
		want.Status, want.Machine, want.Passwords, want.Updated, want.Released = dcsapi.Incremental, "m", []byte{0, 1}, &when, &when
		want.Plan.Source = &dcsapi.Instance{Addrs: "h:1"}
		want.Progress = store.Progress{Run: 2, Work: dcsapi.WorkProgress{Keys: 7, RemainSeconds: &when}, Error: "e"}
		return tx.SaveMigration(want)
	})
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.Migration("a")
		require.Equal(t, want, got)
		return err
	})
	require.ErrorIs(t, db.Change(t.Context(), func(tx *store.Tx) error { return tx.DeleteMigration("b") }), store.ErrNotFound)
	change(t, db, func(tx *store.Tx) error { return tx.DeleteMigration("a") })
	require.ErrorIs(t, db.View(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Migration("a")
		return err
	}), store.ErrNotFound)
}

func testMigrationsFound(t *testing.T, db *store.DB) {
	for i, name := range []string{"Alpha", "beta_1", "betaX1", "gamma%"} {
		addMigration(t, db, fmt.Sprint(i), name, map[bool]string{true: "m"}[i%2 == 0], []dcsapi.Status{dcsapi.Migrating, dcsapi.Migrating, dcsapi.Terminated, dcsapi.Terminating}[i])
	}
	view(t, db, func(tx *store.Tx) error {
		for name, want := range map[string]string{"": "3210", "alpha": "0", "ETA": "21", "a_1": "1", "%": "3", `\`: "", "nobody": ""} {
			page, count, err := tx.Migrations(dcsapi.ListQuery{Name: name, Limit: 10})
			require.NoError(t, err)
			require.Equal(t, len(want), count, name)
			require.Equal(t, want, ids(page), name)
		}
		page, count, err := tx.Migrations(dcsapi.ListQuery{Limit: 2, Offset: 1})
		require.Equal(t, "21 4", fmt.Sprint(ids(page), " ", count))
		counts, err2 := tx.CountMigrations()
		require.NoError(t, err2)
		require.Equal(t, map[string]int{"MIGRATING": 2, "TERMINATED": 1, "TERMINATING": 1}, counts)
		return err
	})
	change(t, db, func(tx *store.Tx) error {
		mine, err := tx.MachineMigrations("m", 10, dcsapi.Running...)
		require.NoError(t, err)
		require.Equal(t, "0", ids(mine))
		waiting, err := tx.MachineMigrations("", 1, dcsapi.Running...)
		require.Equal(t, "1", ids(waiting))
		return err
	})
}

func ids(list []*store.Migration) (all string) {
	for _, m := range list {
		all += m.ID
	}
	return all
}

func testMigrationLogs(t *testing.T, db *store.DB) {
	m := addMigration(t, db, "a", "name", "", dcsapi.Migrating)
	var lines []dcsapi.WorkLog
	for i := range 1010 {
		level := dcsapi.Info
		if i%100 == 0 {
			level = dcsapi.Error
		}
		lines = append(lines, dcsapi.WorkLog{At: int64(i), Level: level, Message: fmt.Sprint(i), Code: "FERRY-X"})
	}
	change(t, db, func(tx *store.Tx) error { return tx.AddMigrationLogs(m, lines[:600]...) })
	change(t, db, func(tx *store.Tx) error { return tx.AddMigrationLogs(m, lines[500:]...) })
	view(t, db, func(tx *store.Tx) error {
		page, count, err := tx.MigrationLogs(m, dcsapi.ListQuery{Limit: 2, Offset: 1})
		require.NoError(t, err)
		require.Equal(t, 1000, count)
		require.Equal(t, lines[11:13], page)
		page, count, err = tx.MigrationLogs(m, dcsapi.ListQuery{Level: dcsapi.Error, Limit: 1})
		require.Equal(t, 10, count)
		require.Equal(t, lines[100:101], page)
		return err
	})
	change(t, db, func(tx *store.Tx) error { return tx.DeleteMigration("a") })
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// CopySQLite writes a copy of the SQLite database at from to the new file to, with mode 0600: one instant of it, also while control
// planes write to it.
func CopySQLite(ctx context.Context, from, to string) error {
	db, err := rawSQLite(from)
	if err != nil {
		return err
	}
	defer db.Close()
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // VACUUM INTO takes an empty file, and keeps its mode
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	file.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		os.Remove(to)
		return fmt.Errorf("copy database: %w", err)
	}
	return CheckSQLite(ctx, to)
}

// CheckSQLite reads the whole database at path and returns an error if it is damaged or not one of a control plane. Errors:
// FERRY-DATABASE.
func CheckSQLite(ctx context.Context, path string) error {
	db, err := rawSQLite(path)
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	err = db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict)
	if err == nil {
		err = db.QueryRowContext(ctx, "SELECT count(*) FROM goose_db_version").Scan(new(int))
	}
	if err != nil {
		verdict = err.Error()
	}
	if verdict != "ok" {
		return fault.Operator("FERRY-DATABASE", "use another backup", fmt.Errorf("the database %s is damaged: %s", path, verdict))
	}
	return nil
}

// RetireSQLite makes sure that nobody uses the database at path, so that another one can take its place, and takes it out of WAL mode:
// what is left beside it would be read into the next. One that does not exist is fine. Errors: FERRY-CONTROLLER-RUNNING.
func RetireSQLite(ctx context.Context, path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := rawSQLite(path)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err = db.ExecContext(ctx, "PRAGMA journal_mode = DELETE"); err == nil {
		return nil
	}
	if CheckSQLite(ctx, path) == nil {
		return fault.Operator("FERRY-CONTROLLER-RUNNING", "stop the controller first", fmt.Errorf("the database %s is in use: %w", path, err))
	}
	for _, rest := range []string{"-wal", "-shm"} { // of a damaged one, which is what backups are for
		if err := os.Remove(path + rest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("retire database: %w", err)
		}
	}
	return nil
}

// rawSQLite opens an existing database and changes nothing about it.
func rawSQLite(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "deferred"))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

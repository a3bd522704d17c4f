package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// migrations hold the schema, one step per file, applied in the order of their names. PRAGMA user_version counts the steps done.
//
//go:embed schema/*.sql
var migrations embed.FS

// SQLite keeps tasks in one SQLite file in WAL mode. One connection writes; others read beside it.
//
// synchronous=NORMAL: a power cut may take the last reports, never the consistency. The agent's outbox is what makes states last.
type SQLite struct {
	write *sql.DB
	read  *sql.DB
}

// readers is how many reads run beside each other.
const readers = 4

// OpenSQLite opens the database at path, creates it with mode 0600 if need be, and brings its schema up to date.
func OpenSQLite(ctx context.Context, path string) (*SQLite, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	file.Close()
	s := &SQLite{}
	if s.write, err = sql.Open("sqlite", dsn(path, "immediate", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write, path); err != nil {
		s.write.Close()
		return nil, err
	}
	if s.read, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(ON)")); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	s.read.SetMaxOpenConns(readers)
	return s, nil
}

// dsn names the file, an absolute path, so that no character of path is taken for an option.
func dsn(path, lock string, pragmas ...string) string {
	options := url.Values{"_txlock": {lock}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	path = "/" + strings.TrimPrefix(filepath.ToSlash(path), "/") // also before a drive letter
	return (&url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}).String()
}

// Close closes the database.
func (s *SQLite) Close() error {
	if err := s.read.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	if err := s.write.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// migrate applies the steps that the database does not have yet, each in a transaction of its own.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	steps, err := fs.Glob(migrations, "schema/*.sql")
	if err != nil {
		return err
	}
	var done int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&done); err != nil {
		return fault.Operator("FERRY-DATABASE", "move the file away to start with an empty one, or restore a backup",
			fmt.Errorf("%s is not a usable SQLite database: %w", path, err))
	}
	if done > len(steps) {
		return fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it",
			fmt.Errorf("database %s has schema %d, this ferry knows %d", path, done, len(steps)))
	}
	for i, step := range steps[done:] {
		if err := apply(ctx, db, step, done+i+1); err != nil {
			return fmt.Errorf("database %s: %s: %w", path, step, err)
		}
	}
	return nil
}

func apply(ctx context.Context, db *sql.DB, step string, version int) error {
	statements, err := migrations.ReadFile(step)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA user_version = %d", statements, version)); err != nil {
		return err
	}
	return tx.Commit()
}

package store

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

var sqlite = &dialect{
	name:     "sqlite3",
	schema:   func(step string) string { return step },
	query:    func(query string) string { return strings.TrimSuffix(query, forUpdate) }, // one writer at a time
	isMade:   "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'",
	repeat:   func(error) bool { return false },
	stale:    func(error) bool { return false },
	readOnly: &sql.TxOptions{ReadOnly: true},
}

// readers is how many reads run beside each other, and beside the one writer.
const readers = 4

// openSQLite opens the file at path in WAL mode.
func openSQLite(path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	file.Close()
	d := &DB{dialect: sqlite}
	if d.write, err = sql.Open("sqlite", dsn(path, "immediate", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	d.write.SetMaxOpenConns(1)
	if d.read, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(ON)")); err != nil {
		d.write.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	d.read.SetMaxOpenConns(readers)
	return d, nil
}

// dsn names the file, an absolute path, so that no character of path is taken for an option.
func dsn(path, lock string, pragmas ...string) string {
	options := url.Values{"_txlock": {lock}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	path = "/" + strings.TrimPrefix(filepath.ToSlash(path), "/") // also before a drive letter
	return (&url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}).String()
}

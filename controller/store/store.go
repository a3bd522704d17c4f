// Package store keeps what the control plane knows in a database: SQLite by default, PostgreSQL at scale.
//
// Everything is read in a [DB.View] and written in a [DB.Change], one transaction each, and every resource is a few methods of
// [Tx] in a file of its own, so that one change can cover several resources and is made or not made as a whole. The two databases
// behave the same: one contract suite runs against both. Several control planes may share one PostgreSQL.
//
// What a Change has read FOR UPDATE nobody else changes before it ends. SQLite has one writer at a time; PostgreSQL locks the rows.
// So a decision is: read FOR UPDATE, look, write. That is the compare-and-set of task states.
//
// Acknowledged means committed: a killed process loses nothing that it has acknowledged. On SQLite a power cut may take the last
// commits, never the consistency (synchronous=NORMAL); the agents' outboxes are what makes states last.
//
// # Adding a table
//
// Add schema/NNNN_name.sql: tasks take 0001 to 0099, sources 0100 to 0199, users, tokens and limits 0200 to 0299,
// migrations of Redis 0300 to 0399; a step that was released is never edited. It is SQLite's STRICT dialect; [postgresWords] are what PostgreSQL gets instead. Columns are
// INTEGER (also for truth, 0 or 1), REAL, TEXT or BLOB; times are Unix milliseconds as in the API, null until known; what nobody
// filters by goes into one TEXT column as JSON. Then add methods of Tx in a file of their own: queries work on both databases, have
// `?` for arguments and no other question mark, RETURNING for new keys and ON CONFLICT for upserts. Add what they promise to
// contract_test.go.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// DB is an open database. It is for concurrent use.
type DB struct {
	dialect     *dialect
	write, read *sql.DB
}

// A dialect is what differs between the databases.
type dialect struct {
	name     string                    // as goose calls it
	schema   func(step string) string  // turns a step of the schema into this dialect
	query    func(query string) string // turns a query into this dialect
	isMade   string                    // query: is there a table of schema versions
	repeat   func(err error) bool      // the transaction lost against another and may be tried again
	stale    func(err error) bool      // a kept connection was dead
	readOnly *sql.TxOptions            // of a View
}

// Open opens the database at address and brings its schema up to date: sqlite:FILE, which is made with mode 0600 if need be, or
// postgres://USER:PASSWORD@HOST:PORT/DATABASE with the options of libpq.
func Open(ctx context.Context, address string) (*DB, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	var db *DB
	var err error
	switch {
	case scheme == "sqlite" && rest != "":
		db, err = openSQLite(rest)
	case scheme == "postgres" || scheme == "postgresql":
		db, err = openPostgres(address)
	default: // the address may hold a password: it is not repeated
		return nil, fault.Operator("FERRY-STORE", "give it as sqlite:FILE or as postgres://USER:PASSWORD@HOST:PORT/DATABASE",
			fmt.Errorf("a store of kind %q is not supported", scheme))
	}
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close closes the database.
func (d *DB) Close() error {
	err := d.write.Close()
	if d.read != d.write {
		err = errors.Join(err, d.read.Close())
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Ping asks whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	if err := d.read.PingContext(ctx); err != nil {
		return fault.Temporary(fmt.Errorf("database: %w", err))
	}
	return nil
}

// View runs do with one snapshot of the database. It waits for no writer and must not write.
func (d *DB) View(ctx context.Context, do func(tx *Tx) error) error {
	return d.run(ctx, d.read, d.dialect.readOnly, do)
}

// maxRepeats is how often a Change that lost against another is tried again.
const maxRepeats = 10

// Change runs do in one transaction that is committed when do returns nil and leaves no trace otherwise. do may be called again
// when it lost against another change, so it must change nothing but the database and what it sets anew each time.
func (d *DB) Change(ctx context.Context, do func(tx *Tx) error) error {
	for n := 1; ; n++ {
		err := d.run(ctx, d.write, nil, do)
		if err == nil || n == maxRepeats || ctx.Err() != nil || !d.dialect.repeat(err) {
			return err
		}
	}
}

// begin begins a transaction. A connection that was kept and is dead, because the server was restarted, is not the caller's matter:
// nothing was done yet, and the next one is tried.
func (d *DB) begin(ctx context.Context, pool *sql.DB, options *sql.TxOptions) (*sql.Tx, error) {
	for n := 0; ; n++ {
		tx, err := pool.BeginTx(ctx, options)
		if err == nil {
			return tx, nil
		}
		if n == connectionsKept || ctx.Err() != nil || !d.dialect.stale(err) {
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
}

func (d *DB) run(ctx context.Context, pool *sql.DB, options *sql.TxOptions, do func(*Tx) error) error {
	tx, err := d.begin(ctx, pool, options)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(&Tx{ctx: ctx, tx: tx, dialect: d.dialect, view: options != nil}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

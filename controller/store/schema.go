package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// steps hold the schema, one step per file, for both databases. goose keeps which were applied, each in a transaction of its own.
//
//go:embed schema/*.sql
var steps embed.FS

// Waiting for another control plane that brings the same database up to date: so often, a second apart.
const lockTries = 60

// migrate applies the steps that the database does not have yet. Another control plane may be doing the same.
func (d *DB) migrate(ctx context.Context) error {
	known, err := d.steps()
	if err != nil {
		return err
	}
	applied, err := d.applied(ctx)
	if err != nil {
		return d.unusable(err)
	}
	missing := len(known)
	for version := range applied {
		if _, ok := known[version]; !ok && version != 0 { // goose's own first row
			return fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it",
				fmt.Errorf("the database has step %d of the schema, which this ferry does not know", version))
		}
		if version != 0 {
			missing--
		}
	}
	if missing == 0 {
		return nil
	}
	provider, err := d.provider(known)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

// steps returns the schema in the dialect of the database.
func (d *DB) steps() (map[int64]*goose.Migration, error) {
	files, err := fs.Glob(steps, "schema/*.sql")
	if err != nil {
		return nil, err
	}
	known := map[int64]*goose.Migration{}
	for _, file := range files {
		text, err := steps.ReadFile(file)
		if err != nil {
			return nil, err
		}
		version, err := goose.NumericComponent(path.Base(file))
		if err != nil {
			return nil, fmt.Errorf("schema: %s: %w", file, err)
		}
		known[version] = goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, d.dialect.schema(string(text)))
			return err
		}}, nil)
	}
	return known, nil
}

// applied returns the steps that the database has.
func (d *DB) applied(ctx context.Context) (map[int64]bool, error) {
	var made int
	if err := d.write.QueryRowContext(ctx, d.dialect.isMade).Scan(&made); err != nil || made == 0 {
		return nil, err
	}
	rows, err := d.write.QueryContext(ctx, "SELECT version_id FROM goose_db_version")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	applied := map[int64]bool{}
	for rows.Next() {
		var version int64
		if err := rows.Scan(&version); err != nil {
			return nil, err
		}
		applied[version] = true
	}
	return applied, rows.Err()
}

func (d *DB) provider(known map[int64]*goose.Migration) (*goose.Provider, error) {
	options := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithAllowOutofOrder(true), // each family of tables counts in a range of its own
	}
	for _, step := range known {
		options = append(options, goose.WithGoMigrations(step))
	}
	if d.dialect == postgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, lockTries))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(goose.Dialect(d.dialect.name), d.write, nil, options...)
}

// unusable tells the operator that a database cannot even be read.
func (d *DB) unusable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if d.dialect == postgres {
		return unreachable(err)
	}
	return fault.Operator("FERRY-DATABASE", "move the file away to start with an empty one, or restore a backup",
		fmt.Errorf("not a usable SQLite database: %w", err))
}

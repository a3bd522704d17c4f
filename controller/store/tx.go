package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// forUpdate ends a query whose rows nobody else may change before the transaction ends.
const forUpdate = " FOR UPDATE"

// Tx is one transaction. It belongs to the function it was given to, and ends with it.
type Tx struct {
	ctx     context.Context
	tx      *sql.Tx
	dialect *dialect
	view    bool
}

// A scan reads the columns of a row, as [sql.Rows.Scan] does.
type scan func(dest ...any) error

// one reads the first row of the answer into dest. Without a row it returns ErrNotFound. A query that ends with FOR UPDATE locks
// the row, in a Change.
func (t *Tx) one(query string, args ...any) scan {
	return func(dest ...any) error {
		values, err := arguments(args)
		if err != nil {
			return err
		}
		err = t.tx.QueryRowContext(t.ctx, t.query(query), values...).Scan(dest...)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		return err
	}
}

// each calls row for every row of the answer, in order. row must not use the transaction.
func (t *Tx) each(row func(scan) error, query string, args ...any) error {
	values, err := arguments(args)
	if err != nil {
		return err
	}
	rows, err := t.tx.QueryContext(t.ctx, t.query(query), values...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// exec runs a query without an answer and returns how many rows it changed.
func (t *Tx) exec(query string, args ...any) (int64, error) {
	values, err := arguments(args)
	if err != nil {
		return 0, err
	}
	result, err := t.tx.ExecContext(t.ctx, t.query(query), values...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t *Tx) query(query string) string {
	if t.view {
		query = strings.TrimSuffix(query, forUpdate)
	}
	return t.dialect.query(query)
}

// arguments turns values into what both databases take: a truth is 0 or 1, and a text has no NUL, which PostgreSQL refuses.
func arguments(args []any) ([]any, error) {
	values := make([]any, len(args))
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, err)
		}
		switch v := value.(type) {
		case bool:
			value = int64(0)
			if v {
				value = int64(1)
			}
		case string:
			value = strings.ReplaceAll(v, "\x00", "\uFFFD")
		}
		values[i] = value
	}
	return values, nil
}

// document is a value kept as JSON in a TEXT column: as an argument it is written, as a destination it is read.
type document struct{ value any }

// Value implements [driver.Valuer].
func (d document) Value() (driver.Value, error) {
	text, err := json.Marshal(d.value)
	return string(text), err
}

// Scan implements [sql.Scanner]. A null leaves the value as it is.
func (d document) Scan(from any) error {
	switch text := from.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(text), d.value)
	case []byte:
		return json.Unmarshal(text, d.value)
	default:
		return fmt.Errorf("a %T is not JSON", from)
	}
}

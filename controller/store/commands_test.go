package store_test

import (
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestCommands(t *testing.T) {
	suite{
		"told in order until answered":  testCommandsInOrder,
		"the last answer is remembered": testLastAnswer,
	}.run(t)
}

func queue(t *testing.T, db *store.DB, source, task string, name smsapi.CommandName) *store.Command {
	t.Helper()
	c := &store.Command{SourceID: source, TaskID: task, Name: name, Param: smsapi.CommandParam{Task: task}, Queued: 7}
	change(t, db, func(tx *store.Tx) error { return tx.QueueCommand(c) })
	return c
}

func next(t *testing.T, db *store.DB, source string) (c *store.Command) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		c, err = tx.NextCommand(source)
		return err
	})
	if err != nil {
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	return c
}

func testCommandsInOrder(t *testing.T, db *store.DB) {
	require.Nil(t, next(t, db, "s"))
	start := queue(t, db, "s", "a", smsapi.CommandStart)
	queue(t, db, "other", "b", smsapi.CommandStart)
	stop := queue(t, db, "s", "a", smsapi.CommandStop)
	require.Equal(t, start, next(t, db, "s"))
	require.Equal(t, start, next(t, db, "s"), "until it is answered")

	for now := int64(10); now < 12; now++ {
		change(t, db, func(tx *store.Tx) error { return tx.DeliverCommand(start, now) })
		require.Equal(t, int64(10), *next(t, db, "s").Delivered, "when it was first told")
	}
	change(t, db, func(tx *store.Tx) error {
		return tx.AnswerCommand(start, smsapi.CommandResult{Name: "START", Result: "success", Detail: []byte("{}")}, 12)
	})
	require.Equal(t, stop, next(t, db, "s"))

	again := queue(t, db, "s", "a", smsapi.CommandStop)
	require.Equal(t, again, next(t, db, "s"), "the same order does not wait twice")
	queue(t, db, "s", "c", smsapi.CommandUploadLog)
	change(t, db, func(tx *store.Tx) error { return tx.DropCommands("a") })
	require.Equal(t, smsapi.CommandUploadLog, next(t, db, "s").Name)
	change(t, db, func(tx *store.Tx) error { return tx.DropQueue("s") })
	require.Nil(t, next(t, db, "s"))
	require.NotNil(t, next(t, db, "other"))
}

func testLastAnswer(t *testing.T, db *store.DB) {
	for _, name := range []smsapi.CommandName{smsapi.CommandStart, smsapi.CommandStop} {
		c := queue(t, db, "s", "a", name)
		change(t, db, func(tx *store.Tx) error {
			return tx.AnswerCommand(c, smsapi.CommandResult{Name: name, Result: "fail", Detail: []byte(`{"a":"\u0000"}`)}, 12)
		})
		view(t, db, func(tx *store.Tx) error {
			last, err := tx.LastAnswered("s")
			require.Equal(t, name, last.Name)
			return err
		})
		require.Nil(t, next(t, db, "s"))
	}
}

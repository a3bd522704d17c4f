package store_test

import (
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/stretchr/testify/require"
)

func TestIdentities(t *testing.T) {
	suite{
		"a name is given once":              testUserNames,
		"a user takes everything along":     testDeleteUser,
		"tokens expire and are numbered":    testTokens,
		"a secret is made once":             testSecrets,
		"a source has one owner, the first": testOwners,
	}.run(t)
}

func testUserNames(t *testing.T, db *store.DB) {
	change(t, db, func(tx *store.Tx) error {
		for i, want := range []bool{true, false} {
			free, err := tx.AddUser(store.User{ID: string(rune('a' + i)), Name: "ann", Role: "agent"})
			require.NoError(t, err)
			require.Equal(t, want, free)
		}
		_, err := tx.AddUser(store.User{ID: "z", Name: "adam", Role: "admin", Password: "hash", Created: 7})
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		users, err := tx.Users()
		require.NoError(t, err)
		require.Equal(t, []store.User{{ID: "z", Name: "adam", Role: "admin", Password: "hash", Created: 7}, {ID: "a", Name: "ann", Role: "agent"}}, users)
		_, err = tx.User("nobody")
		require.ErrorIs(t, err, store.ErrNotFound)
		return nil
	})
}

func addUser(t *testing.T, db *store.DB, name string) {
	t.Helper()
	change(t, db, func(tx *store.Tx) error {
		_, err := tx.AddUser(store.User{ID: name, Name: name, Role: "agent"})
		return err
	})
}

func testDeleteUser(t *testing.T, db *store.DB) {
	addUser(t, db, "ann")
	key := store.AccessKey{AccessKey: "AK", UserID: "ann", Secret: []byte{0, 1, 255}, Created: 3}
	change(t, db, func(tx *store.Tx) error {
		require.NoError(t, tx.PutAccessKey(key))
		require.NoError(t, tx.PutAccessKey(store.AccessKey{AccessKey: "AK", UserID: "ann", Secret: []byte{9}}), "stays as it is")
		require.NoError(t, tx.PutAccessKey(store.AccessKey{AccessKey: "AK2", UserID: "ann", Secret: []byte{1}, Created: 4}))
		require.NoError(t, tx.DeleteAccessKey("AK2"))
		require.ErrorIs(t, tx.DeleteAccessKey("AK2"), store.ErrNotFound)
		require.NoError(t, tx.AddToken(store.Token{Digest: []byte("d"), UserID: "ann", Expires: 10}, 0, 5))
		_, err := tx.OwnSource("source", "ann")
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		got, user, err := tx.AccessKey("AK")
		require.NoError(t, err)
		require.Equal(t, key, got)
		require.Equal(t, "ann", user.Name)
		keys, err := tx.AccessKeys("ann")
		require.Equal(t, []store.AccessKey{{AccessKey: "AK", UserID: "ann", Created: 3}}, keys)
		return err
	})
	change(t, db, func(tx *store.Tx) error {
		require.NoError(t, tx.DeleteUser("ann"))
		require.ErrorIs(t, tx.DeleteUser("ann"), store.ErrNotFound)
		_, _, err := tx.AccessKey("AK")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = tx.TokenUser([]byte("d"), 1)
		require.ErrorIs(t, err, store.ErrNotFound)
		own, err := tx.OwnsSource("source", "ann")
		require.False(t, own)
		return err
	})
}

func testTokens(t *testing.T, db *store.DB) {
	addUser(t, db, "ann")
	addUser(t, db, "bob")
	good := func(digest string, now int64) bool {
		var err error
		view(t, db, func(tx *store.Tx) error {
			_, err = tx.TokenUser([]byte(digest), now)
			return nil
		})
		return err == nil
	}
	add := func(digest, user string, expires, now int64) {
		change(t, db, func(tx *store.Tx) error {
			return tx.AddToken(store.Token{Digest: []byte(digest), UserID: user, Expires: expires}, now, 2)
		})
	}
	add("a", "ann", 100, 0)
	require.True(t, good("a", 99))
	require.False(t, good("a", 100), "expired")
	require.False(t, good("b", 1), "unknown")
	add("bob's", "bob", 50, 0)
	add("b", "ann", 101, 1)
	add("c", "ann", 102, 2)
	require.False(t, good("a", 3), "two tokens of a user at most")
	require.True(t, good("b", 3) && good("c", 3) && good("bob's", 3))
	add("d", "ann", 200, 60)
	require.False(t, good("bob's", 3), "expired ones are forgotten")
}

func testSecrets(t *testing.T, db *store.DB) {
	change(t, db, func(tx *store.Tx) error {
		_, err := tx.Secret("ca")
		require.ErrorIs(t, err, store.ErrNotFound)
		require.NoError(t, tx.KeepSecret("ca", []byte("one")))
		require.NoError(t, tx.KeepSecret("ca", []byte("two")))
		sealed, err := tx.Secret("ca")
		require.Equal(t, "one", string(sealed))
		return err
	})
}

func testOwners(t *testing.T, db *store.DB) {
	addUser(t, db, "ann")
	addUser(t, db, "bob")
	task := newTask("task")
	change(t, db, func(tx *store.Tx) error {
		require.NoError(t, tx.CreateTask(task))
		for user, want := range map[string]bool{"ann": true, "bob": false} {
			_, err := tx.OwnSource("s", "ann")
			require.NoError(t, err)
			own, err := tx.OwnSource("s", user)
			require.NoError(t, err)
			require.Equal(t, want, own)
			own, err = tx.OwnsSource("s", user)
			require.NoError(t, err)
			require.Equal(t, want, own)
		}
		source, err := tx.SourceOfTask("task")
		require.NoError(t, err)
		require.Equal(t, task.Request.SourceServer.ID, source)
		_, err = tx.SourceOfTask("other")
		require.ErrorIs(t, err, store.ErrNotFound)
		counts, err := tx.CountTasks()
		require.Equal(t, map[string]int{string(task.State): 1}, counts)
		return err
	})
}

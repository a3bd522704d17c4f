package store

// User is somebody who may call, a person or a program.
type User struct {
	ID       string
	Name     string // unique
	Role     string
	Password string // its hash; empty if there is none
	Created  int64
}

// AccessKey is one of a user's pairs of keys.
type AccessKey struct {
	AccessKey string
	UserID    string
	Secret    []byte // sealed
	Created   int64
}

// Token is what is known of a token that was given out.
type Token struct {
	Digest  []byte // SHA-256
	UserID  string
	Expires int64
}

const userColumns = "u.id, u.name, u.role, u.password, u.created"

func (u *User) columns() []any { return []any{&u.ID, &u.Name, &u.Role, &u.Password, &u.Created} }

// AddUser stores a new user, and reports whether the name was free.
func (t *Tx) AddUser(u User) (bool, error) {
	n, err := t.exec("INSERT INTO users (id, name, role, password, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
		u.ID, u.Name, u.Role, u.Password, u.Created)
	return n == 1, err
}

// User returns the user called name, or ErrNotFound.
func (t *Tx) User(name string) (u User, err error) {
	err = t.one("SELECT "+userColumns+" FROM users u WHERE u.name = ?", name)(u.columns()...)
	return u, err
}

// Users returns all users by name.
func (t *Tx) Users() (users []User, err error) {
	err = t.each(func(scan scan) error {
		var u User
		err := scan(u.columns()...)
		users = append(users, u)
		return err
	}, "SELECT "+userColumns+" FROM users u ORDER BY u.name")
	return users, err
}

// DeleteUser forgets a user with its keys, its tokens and what it owns, or returns ErrNotFound.
func (t *Tx) DeleteUser(name string) error {
	return t.changed("DELETE FROM users WHERE name = ?", name)
}

// PutAccessKey stores a pair of keys. One that is there stays as it is.
func (t *Tx) PutAccessKey(k AccessKey) error {
	_, err := t.exec("INSERT INTO access_keys (access_key, user_id, secret, created) VALUES (?, ?, ?, ?) ON CONFLICT (access_key) DO NOTHING",
		k.AccessKey, k.UserID, k.Secret, k.Created)
	return err
}

// AccessKey returns a pair of keys and its user, or ErrNotFound.
func (t *Tx) AccessKey(accessKey string) (k AccessKey, u User, err error) {
	err = t.one("SELECT k.access_key, k.user_id, k.secret, k.created, "+userColumns+
		" FROM access_keys k JOIN users u ON u.id = k.user_id WHERE k.access_key = ?", accessKey)(
		append([]any{&k.AccessKey, &k.UserID, &k.Secret, &k.Created}, u.columns()...)...)
	return k, u, err
}

// AccessKeys returns the access keys of a user, oldest first, without their secrets.
func (t *Tx) AccessKeys(userID string) (keys []AccessKey, err error) {
	err = t.each(func(scan scan) error {
		k := AccessKey{UserID: userID}
		err := scan(&k.AccessKey, &k.Created)
		keys = append(keys, k)
		return err
	}, "SELECT access_key, created FROM access_keys WHERE user_id = ? ORDER BY created, access_key", userID)
	return keys, err
}

// DeleteAccessKey forgets a pair of keys, or returns ErrNotFound.
func (t *Tx) DeleteAccessKey(accessKey string) error {
	return t.changed("DELETE FROM access_keys WHERE access_key = ?", accessKey)
}

// AddToken stores a token, and forgets those that have expired at now and all but the last keep of the user.
func (t *Tx) AddToken(token Token, now int64, keep int) error {
	if _, err := t.exec("DELETE FROM tokens WHERE expires <= ?", now); err != nil {
		return err
	}
	if _, err := t.exec("INSERT INTO tokens (digest, user_id, expires) VALUES (?, ?, ?)", token.Digest, token.UserID, token.Expires); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM tokens WHERE user_id = ? AND digest IN (
		SELECT digest FROM tokens WHERE user_id = ? ORDER BY expires DESC, digest LIMIT 1000000 OFFSET ?)`, token.UserID, token.UserID, keep)
	return err
}

// TokenUser returns the user of a token that is valid at now, or ErrNotFound.
func (t *Tx) TokenUser(digest []byte, now int64) (u User, err error) {
	err = t.one("SELECT "+userColumns+" FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.digest = ? AND t.expires > ?", digest, now)(u.columns()...)
	return u, err
}

// KeepSecret stores a sealed text under name unless there is one.
func (t *Tx) KeepSecret(name string, sealed []byte) error {
	_, err := t.exec("INSERT INTO secrets (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, sealed)
	return err
}

// Secret returns the sealed text called name, or ErrNotFound.
func (t *Tx) Secret(name string) (sealed []byte, err error) {
	err = t.one("SELECT sealed FROM secrets WHERE name = ?", name)(&sealed)
	return sealed, err
}

// OwnSource makes a user the owner of a source that has none, and reports whether the user owns it now.
func (t *Tx) OwnSource(sourceID, userID string) (bool, error) {
	_, err := t.exec("INSERT INTO source_owners (source_id, user_id) VALUES (?, ?) ON CONFLICT (source_id) DO NOTHING", sourceID, userID)
	if err != nil {
		return false, err
	}
	var owner string
	err = t.one("SELECT user_id FROM source_owners WHERE source_id = ?", sourceID)(&owner)
	return owner == userID, err
}

// OwnsSource reports whether a user owns a source.
func (t *Tx) OwnsSource(sourceID, userID string) (bool, error) {
	var n int
	err := t.one("SELECT count(*) FROM source_owners WHERE source_id = ? AND user_id = ?", sourceID, userID)(&n)
	return n > 0, err
}

// SourceOfTask returns the id of the source that a task is for, or ErrNotFound.
func (t *Tx) SourceOfTask(taskID string) (sourceID string, err error) {
	err = t.one("SELECT source_id FROM tasks WHERE id = ?", taskID)(&sourceID)
	return sourceID, err
}

// changed runs a query that must change a row, else it returns ErrNotFound.
func (t *Tx) changed(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// CountTasks returns how many tasks there are in each state.
func (t *Tx) CountTasks() (map[string]int, error) {
	return t.countBy("SELECT state, count(*) FROM tasks GROUP BY state")
}

func (t *Tx) countBy(query string) (map[string]int, error) {
	counts := map[string]int{}
	err := t.each(func(scan scan) error {
		var of string
		var n int
		err := scan(&of, &n)
		counts[of] = n
		return err
	}, query)
	return counts, err
}

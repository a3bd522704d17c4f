// Package iam is the control plane's small identity service: it knows who calls.
//
// A user is a person or a program. It has a role, pairs of access key and secret key that sign requests, perhaps a password, and
// tokens that a password or a pair of keys was exchanged for. All of it lies in the database, so that every control plane of that
// database knows the same users, and what is taken away is gone with the next request.
//
// A secret key is sealed, because a signature can only be checked with the secret itself; see [Sealer]. Passwords are kept as slow
// hashes and tokens as digests: neither can be read back. No method returns, prints or logs a secret, but for the one time a new
// pair of keys is handed to the one who asked for it.
//
// It does not know what may be done to what: the route table and the owners of sources say that, per role.
package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// Role is what a user may do.
type Role string

// The roles.
const (
	Admin   Role = "admin"   // everything
	Reader  Role = "reader"  // look at everything but secrets
	Agent   Role = "agent"   // register sources, and what an agent does with those it registered and their tasks
	Machine Role = "machine" // what an agent may, and run migrations of Redis, whose passwords it is told
)

// Known reports whether r is one of the roles.
func (r Role) Known() bool { return slices.Contains([]Role{Admin, Reader, Agent, Machine}, r) }

// Domain and project that everything belongs to. There is one of each; clients of the service want to name them.
const (
	DomainID    = "ferry"
	ProjectID   = "ferry"
	ProjectName = "ferry"
)

// AdminName is the user that the key file of a control plane belongs to.
const AdminName = "admin"

// Lengths of the vendor's access and secret keys, which some clients check.
const (
	accessKeyPrefix = "FERRY"
	accessKeyLength = 20
	secretKeyLength = 40
)

// A Caller is a user whose proof was checked.
type Caller struct {
	ID, Name string
	Role     Role
	method   smsapi.AuthMethod
}

// IsAgent reports whether the caller is kept to the sources that it registered.
func (c Caller) IsAgent() bool { return c.Role == Agent || c.Role == Machine }

// Service checks proofs and keeps users. It is for concurrent use.
type Service struct {
	db     *store.DB
	sealer *Sealer
	now    func() time.Time
	checks chan struct{} // has room for the passwords that are checked at a time
}

// passwordChecks is how many passwords are checked at a time: each takes a processor.
const passwordChecks = 2

// New returns the service of a database. Errors: FERRY-SEALING-KEY if the database was made with another sealing key.
func New(ctx context.Context, db *store.DB, sealer *Sealer, now func() time.Time) (*Service, error) {
	s := &Service{db: db, sealer: sealer, now: now, checks: make(chan struct{}, passwordChecks)}
	_, err := s.Secret(ctx, "sealing check", func() ([]byte, error) { return []byte("ferry"), nil })
	return s, err
}

// Secret returns the secret called name that all control planes of the database share. The first one makes it.
func (s *Service) Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	sealed, err := s.sealed(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		var text []byte
		if text, err = make(); err != nil {
			return nil, err
		}
		err = s.db.Change(ctx, func(tx *store.Tx) error { return tx.KeepSecret(name, s.sealer.Seal(name, text)) })
		if err == nil {
			sealed, err = s.sealed(ctx, name) // another control plane may have been first
		}
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return s.sealer.Open(name, sealed)
}

func (s *Service) sealed(ctx context.Context, name string) (sealed []byte, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		sealed, err = tx.Secret(name)
		return err
	})
	return sealed, err
}

// HasSecrets reports whether anything in the database was sealed, so that it needs the key it was made with.
func HasSecrets(ctx context.Context, db *store.DB) (bool, error) {
	_, err := (&Service{db: db}).sealed(ctx, "sealing check")
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Add makes a user and its first pair of keys. An empty password is none. Errors: FERRY-USER.
func (s *Service) Add(ctx context.Context, name string, role Role, password string) (smsapi.Key, error) {
	switch {
	case !role.Known():
		return smsapi.Key{}, fault.Operator("FERRY-USER", "choose admin, reader or agent", fmt.Errorf("there is no role %q", role))
	case name == "" || smsapi.TaskName(name) != name:
		return smsapi.Key{}, fault.Operator("FERRY-USER", "use letters, digits, '_' and '-'", fmt.Errorf("%q is no name of a user", name))
	}
	user := store.User{ID: uuid.NewString(), Name: name, Role: string(role), Created: s.now().UnixMilli()}
	if password != "" {
		user.Password = hashPassword(password)
	}
	key := NewKey()
	err := s.db.Change(ctx, func(tx *store.Tx) error {
		free, err := tx.AddUser(user)
		if err == nil && !free {
			err = fault.Operator("FERRY-USER", "choose another name, or remove that user first", fmt.Errorf("there is a user %q", name))
		}
		if err != nil {
			return err
		}
		return s.putKey(tx, user.ID, key)
	})
	return key, err
}

// EnsureAdmin makes key one of the admin's, and the admin if there is none.
func (s *Service) EnsureAdmin(ctx context.Context, key smsapi.Key) error {
	return s.db.Change(ctx, func(tx *store.Tx) error {
		admin := store.User{ID: uuid.NewString(), Name: AdminName, Role: string(Admin), Created: s.now().UnixMilli()}
		if _, err := tx.AddUser(admin); err != nil {
			return err
		}
		admin, err := tx.User(AdminName)
		if err != nil {
			return err
		}
		return s.putKey(tx, admin.ID, key)
	})
}

func (s *Service) putKey(tx *store.Tx, userID string, key smsapi.Key) error {
	return tx.PutAccessKey(store.AccessKey{
		AccessKey: key.AccessKey, UserID: userID, Created: s.now().UnixMilli(),
		Secret: s.sealer.Seal(keyName(key.AccessKey), []byte(key.SecretKey)),
	})
}

func keyName(accessKey string) string { return "access key " + accessKey }

// Remove forgets a user, its keys, its tokens and what it owns. Errors: FERRY-USER.
func (s *Service) Remove(ctx context.Context, name string) error {
	err := s.db.Change(ctx, func(tx *store.Tx) error { return tx.DeleteUser(name) })
	if errors.Is(err, store.ErrNotFound) {
		return fault.Operator("FERRY-USER", "`ferry controller user list` shows them", fmt.Errorf("there is no user %q", name))
	}
	return err
}

// Listed is a user as it is shown.
type Listed struct {
	Name       string    `json:"name"`
	Role       Role      `json:"role"`
	Created    time.Time `json:"created"`
	Password   bool      `json:"password"` // has one
	AccessKeys []string  `json:"access_keys"`
}

// List returns all users by name.
func (s *Service) List(ctx context.Context) (list []Listed, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		list = nil
		users, err := tx.Users()
		for _, u := range users {
			keys, err := tx.AccessKeys(u.ID)
			if err != nil {
				return err
			}
			shown := Listed{Name: u.Name, Role: Role(u.Role), Created: time.UnixMilli(u.Created), Password: u.Password != "", AccessKeys: []string{}}
			for _, k := range keys {
				shown.AccessKeys = append(shown.AccessKeys, k.AccessKey)
			}
			list = append(list, shown)
		}
		return err
	})
	return list, err
}

// NewKey returns a new pair of keys.
func NewKey() smsapi.Key {
	return smsapi.Key{
		AccessKey: accessKeyPrefix + randomText(accessKeyLength-len(accessKeyPrefix)), SecretKey: randomText(secretKeyLength),
		DomainID: DomainID, ProjectID: ProjectID,
	}
}

// randomText returns n random letters and digits, at least 5 bits each.
func randomText(n int) string {
	text := ""
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

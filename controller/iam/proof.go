package iam

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// TokenLife is how long a token is good for, as with the service.
const TokenLife = 24 * time.Hour

// maxTokens is how many tokens of one user are good at a time; a new one ends the oldest.
const maxTokens = 10_000

// Why a caller is refused, besides the errors of a signature.
var (
	ErrToken    = errors.New("the token is not known or has expired")
	ErrPassword = errors.New("the name, the password or the secret key is wrong")
	ErrScope    = errors.New("there is no such domain or project")
)

// A Claim is who a request says it comes from, as far as its header shows. Believe it after Check.
type Claim struct {
	caller Caller
	key    smsapi.Key // of a signed request
	signed bool
}

// Caller returns who the request says it comes from. It is not proved.
func (c Claim) Caller() Caller { return c.caller }

// Claim looks at the header of a request, a token or a signature, and refuses strangers before anything of theirs is read. Errors
// other than refusals are the database's: see [Refused].
func (s *Service) Claim(r *http.Request) (Claim, error) {
	if token := r.Header.Get(smsapi.AuthTokenHeader); token != "" && r.Header.Get("Authorization") == "" {
		caller, err := s.byToken(r.Context(), token)
		return Claim{caller: caller}, err
	}
	key, user, err := s.byAccessKey(r.Context(), smsapi.AccessKeyOf(r))
	switch {
	case errors.Is(err, store.ErrNotFound):
		// Unsigned and malformed ones are told what they are.
		return Claim{}, smsapi.Key{}.VerifyHeader(r, s.now())
	case err != nil:
		return Claim{}, err
	}
	return Claim{caller: callerOf(user, smsapi.MethodAccessKey), key: key, signed: true}, key.VerifyHeader(r, s.now())
}

// Check proves the claim on a request whose body is exactly body.
func (s *Service) Check(c Claim, r *http.Request, body []byte) (Caller, error) {
	if c.signed {
		if err := c.key.Verify(r, body, s.now()); err != nil {
			return Caller{}, err
		}
	}
	return c.caller, nil
}

// Refused reports whether err says that a caller did not prove who it is.
func Refused(err error) bool {
	for _, refusal := range []error{smsapi.ErrUnsigned, smsapi.ErrSkew, smsapi.ErrKey, smsapi.ErrSignature, ErrToken, ErrPassword, ErrScope} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func callerOf(u store.User, method smsapi.AuthMethod) Caller {
	return Caller{ID: u.ID, Name: u.Name, Role: Role(u.Role), method: method}
}

func (s *Service) byToken(ctx context.Context, token string) (Caller, error) {
	if err := smsapi.CheckToken(token); err != nil {
		return Caller{}, ErrToken
	}
	var user store.User
	digest := sha256.Sum256([]byte(token))
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.TokenUser(digest[:], s.now().UnixMilli())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, ErrToken
	}
	return callerOf(user, ""), err
}

// byAccessKey returns a pair of keys and its user, or store.ErrNotFound.
func (s *Service) byAccessKey(ctx context.Context, accessKey string) (key smsapi.Key, user store.User, err error) {
	if accessKey == "" {
		return key, user, store.ErrNotFound
	}
	var found store.AccessKey
	err = s.db.View(ctx, func(tx *store.Tx) error {
		found, user, err = tx.AccessKey(accessKey)
		return err
	})
	if err != nil {
		return key, user, err
	}
	secret, err := s.sealer.Open(keyName(found.AccessKey), found.Secret)
	return smsapi.Key{AccessKey: found.AccessKey, SecretKey: string(secret), DomainID: DomainID, ProjectID: ProjectID}, user, err
}

// Issue exchanges the proof in an AuthRequest for a token. Errors: ErrPassword, ErrScope, and *smsapi.Error if the request makes no sense.
func (s *Service) Issue(ctx context.Context, request smsapi.Authentication) (token string, info smsapi.TokenInfo, err error) {
	caller, err := s.identify(ctx, request.Identity)
	if err != nil {
		return "", info, err
	}
	if scope := request.Scope; scope != nil && (!scope.Domain.Fits(DomainID, DomainID) || !fitsProject(scope.Project)) {
		return "", info, ErrScope
	}
	token = rand.Text() + rand.Text()
	digest := sha256.Sum256([]byte(token))
	now := s.now()
	err = s.db.Change(ctx, func(tx *store.Tx) error {
		row := store.Token{Digest: digest[:], UserID: caller.ID, Expires: now.Add(TokenLife).UnixMilli()}
		return tx.AddToken(row, now.UnixMilli(), maxTokens)
	})
	if err != nil {
		return "", info, fmt.Errorf("store token: %w", err)
	}
	return token, describe(caller, request.Scope, now), nil
}

// fitsProject takes any name, as GET /v3/projects does: clients name the region of their project.
func fitsProject(p *smsapi.NameID) bool {
	return p == nil || p.ID == ProjectID || p.ID == "" && p.Name != ""
}

func describe(caller Caller, scope *smsapi.Scope, now time.Time) smsapi.TokenInfo {
	domain := smsapi.NameID{ID: DomainID, Name: DomainID}
	info := smsapi.TokenInfo{
		Methods: []smsapi.AuthMethod{caller.method}, IssuedAt: smsapi.NewIAMTime(now), ExpiresAt: smsapi.NewIAMTime(now.Add(TokenLife)),
		User:  smsapi.TokenUser{ID: caller.ID, Name: caller.Name, Domain: domain},
		Roles: []smsapi.NameID{{ID: string(caller.Role), Name: string(caller.Role)}}, Catalog: []smsapi.NameID{},
	}
	if scope != nil && scope.Project != nil {
		info.Project = &smsapi.NameID{ID: ProjectID, Name: ProjectName}
	} else {
		info.Domain = &domain
	}
	return info
}

// identify checks the one proof of an identity.
func (s *Service) identify(ctx context.Context, identity smsapi.Identity) (Caller, error) {
	method := smsapi.AuthMethod("")
	if len(identity.Methods) == 1 {
		method = identity.Methods[0]
	}
	switch {
	case method == smsapi.MethodPassword && identity.Password != nil:
		return s.byPassword(ctx, identity.Password.User)
	case method == smsapi.MethodAccessKey && identity.AccessKey != nil:
		return s.bySecretKey(ctx, identity.AccessKey)
	}
	return Caller{}, smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid,
		"auth.identity: one method, %q or %q, and the field of that name are required", smsapi.MethodPassword, smsapi.MethodAccessKey)
}

// nobodysPassword is what the password of a user that does not exist is compared with, so that it takes as long as another.
var nobodysPassword = sync.OnceValue(func() string { return hashPassword(rand.Text()) })

func (s *Service) byPassword(ctx context.Context, claimed smsapi.PasswordUser) (Caller, error) {
	var user store.User
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.User(claimed.Name)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Caller{}, err
	}
	hash := user.Password
	if hash == "" {
		hash = nobodysPassword()
	}
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	case <-ctx.Done():
		return Caller{}, ctx.Err()
	}
	if !passwordFits(hash, claimed.Password) || !claimed.Domain.Fits(DomainID, DomainID) {
		return Caller{}, ErrPassword
	}
	return callerOf(user, smsapi.MethodPassword), nil
}

func (s *Service) bySecretKey(ctx context.Context, claimed *smsapi.AccessKeyIdentity) (Caller, error) {
	key, user, err := s.byAccessKey(ctx, claimed.Access.Key)
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, ErrPassword
	}
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare([]byte(key.SecretKey), []byte(claimed.Secret.Key)) != 1 {
		return Caller{}, ErrPassword
	}
	return callerOf(user, smsapi.MethodAccessKey), nil
}

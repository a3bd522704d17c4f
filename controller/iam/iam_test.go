package iam_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A desk is an identity service with its database and a clock that tests move.
type desk struct {
	*testing.T
	*iam.Service
	db     *store.DB
	sealer *iam.Sealer
	at     time.Time
}

func open(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, at: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	var err error
	d.db, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	t.Cleanup(func() { d.db.Close() })
	d.sealer, err = iam.NewSealer(bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	d.Service, err = iam.New(t.Context(), d.db, d.sealer, func() time.Time { return d.at })
	require.NoError(t, err)
	return d
}

func (d *desk) add(name string, role iam.Role, password string) smsapi.Key {
	d.Helper()
	key, err := d.Add(d.Context(), name, role, password)
	require.NoError(d, err)
	return key
}

// check sends a request through both halves of the proof.
func (d *desk) check(body string, prove func(r *http.Request)) (iam.Caller, error) {
	r, err := http.NewRequestWithContext(d.Context(), "PUT", "http://x/v3/tasks/1/progress", strings.NewReader(body))
	require.NoError(d, err)
	prove(r)
	claim, err := d.Claim(r)
	if err != nil {
		return iam.Caller{}, err
	}
	return d.Check(claim, r, []byte(body))
}

func (d *desk) login(request string) (string, smsapi.TokenInfo, error) {
	var r smsapi.AuthRequest
	require.NoError(d, smsapi.Decode([]byte(request), &r))
	return d.Issue(d.Context(), r.Auth)
}

func password(user, password, scope string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":%q,"domain":{"name":"ferry"}}}}%s}}`, user, password, scope)
}

func TestSignature(t *testing.T) {
	d := open(t)
	key := d.add("ann", iam.Agent, "")
	sign := func(k smsapi.Key, body string, at time.Time) func(*http.Request) {
		return func(r *http.Request) { k.Sign(r, []byte(body), at) }
	}
	caller, err := d.check("x", sign(key, "x", d.at))
	require.NoError(t, err)
	require.Equal(t, iam.Agent, caller.Role)
	require.Equal(t, "ann", caller.Name)

	other := key
	other.SecretKey = strings.Repeat("x", 40)
	for name, refused := range map[string]struct {
		prove func(*http.Request)
		why   error
	}{
		"unsigned":       {func(*http.Request) {}, smsapi.ErrUnsigned},
		"malformed":      {func(r *http.Request) { r.Header.Set("Authorization", "SDK-HMAC-SHA256 Access=") }, smsapi.ErrUnsigned},
		"another scheme": {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, smsapi.ErrUnsigned},
		"unknown key":    {sign(smsapi.Key{AccessKey: "AK", SecretKey: "s"}, "x", d.at), smsapi.ErrKey},
		"another secret": {sign(other, "x", d.at), smsapi.ErrSignature},
		"another body":   {sign(key, "y", d.at), smsapi.ErrSignature},
		"late":           {sign(key, "x", d.at.Add(-16*time.Minute)), smsapi.ErrSkew},
		"early":          {sign(key, "x", d.at.Add(16*time.Minute)), smsapi.ErrSkew},
	} {
		_, err := d.check("x", refused.prove)
		require.ErrorIs(t, err, refused.why, name)
		require.True(t, iam.Refused(err), name)
	}

	require.NoError(t, d.Remove(t.Context(), "ann"))
	_, err = d.check("x", sign(key, "x", d.at))
	require.ErrorIs(t, err, smsapi.ErrKey, "a removed user is refused with the next request")
}

func TestToken(t *testing.T) {
	d := open(t)
	key := d.add("ann", iam.Reader, "correct horse")
	d.add("keys-only", iam.Reader, "")
	for name, request := range map[string]string{
		"password": password("ann", "correct horse", `,"scope":{"domain":{"name":"ferry"}}`),
		"keys": fmt.Sprintf(`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":%q},"secret":{"key":%q}}},
			"scope":{"project":{"name":"cn-north-4"}}}}`, key.AccessKey, key.SecretKey),
	} {
		token, info, err := d.login(request)
		require.NoError(t, err, name)
		require.Equal(t, "ann", info.User.Name)
		require.Equal(t, smsapi.NewIAMTime(d.at.Add(24*time.Hour)), info.ExpiresAt)
		require.Equal(t, name == "keys", info.Project != nil)
		require.Equal(t, name == "password", info.Domain != nil)
		use := func(r *http.Request) { r.Header.Set("X-Auth-Token", token) }
		caller, err := d.check("anything", use)
		require.NoError(t, err)
		require.Equal(t, iam.Reader, caller.Role)
		d.at = d.at.Add(24 * time.Hour)
		_, err = d.check("anything", use)
		require.ErrorIs(t, err, iam.ErrToken, "expired")
	}
	for _, token := range []string{"x", strings.Repeat("x", 16385)} {
		_, err := d.check("", func(r *http.Request) { r.Header.Set("X-Auth-Token", token) })
		require.ErrorIs(t, err, iam.ErrToken)
	}
	for name, refused := range map[string]struct {
		request string
		why     error
	}{
		"wrong password": {password("ann", "wrong", ""), iam.ErrPassword},
		"unknown user":   {password("nobody", "x", ""), iam.ErrPassword},
		"no password":    {password("keys-only", "", ""), iam.ErrPassword},
		"unknown key":    {`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":"a"},"secret":{"key":"s"}}}}}`, iam.ErrPassword},
		"wrong secret": {fmt.Sprintf(`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":%q},"secret":{"key":"s"}}}}}`, key.AccessKey),
			iam.ErrPassword},
		"other domain":  {password("ann", "correct horse", `,"scope":{"domain":{"id":"other"}}`), iam.ErrScope},
		"other project": {password("ann", "correct horse", `,"scope":{"project":{"id":"other"}}`), iam.ErrScope},
		"empty domain":  {password("ann", "correct horse", `,"scope":{"domain":{}}`), iam.ErrScope},
	} {
		_, _, err := d.login(refused.request)
		require.ErrorIs(t, err, refused.why, name)
		require.True(t, iam.Refused(err), name)
	}
	var e *smsapi.Error
	for _, nonsense := range []string{`{"auth":{"identity":{"methods":[]}}}`, `{"auth":{"identity":{"methods":["password"]}}}`} {
		_, _, err := d.login(nonsense)
		require.ErrorAs(t, err, &e)
		require.Equal(t, 400, e.Status)
	}
}

func TestUsers(t *testing.T) {
	d := open(t)
	admin := iam.NewKey()
	require.Len(t, admin.AccessKey, 20)
	require.Len(t, admin.SecretKey, 40)
	for range 2 {
		require.NoError(t, d.EnsureAdmin(t.Context(), admin))
	}
	second := iam.NewKey()
	require.NoError(t, d.EnsureAdmin(t.Context(), second), "another control plane of the database has a key of its own")
	d.add("ann", iam.Agent, "p")
	list, err := d.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.ElementsMatch(t, []string{admin.AccessKey, second.AccessKey}, list[0].AccessKeys)
	require.True(t, list[1].Password)
	shown, err := json.Marshal(list)
	require.NoError(t, err)
	require.NotContains(t, string(shown), admin.SecretKey)

	for _, bad := range []struct{ name, role string }{{"ann", "agent"}, {"", "agent"}, {"a b", "agent"}, {"bob", "king"}} {
		_, err := d.Add(t.Context(), bad.name, iam.Role(bad.role), "")
		require.Equal(t, "FERRY-USER", fault.CodeOf(err))
	}
	require.Equal(t, "FERRY-USER", fault.CodeOf(d.Remove(t.Context(), "nobody")))
}

func TestSealing(t *testing.T) {
	d := open(t)
	key := d.add("ann", iam.Agent, "")
	d.View(func(tx *store.Tx) {
		stored, _, err := tx.AccessKey(key.AccessKey)
		require.NoError(t, err)
		require.NotContains(t, string(stored.Secret), key.SecretKey)
		_, err = d.sealer.Open("access key OTHER", stored.Secret)
		require.Equal(t, "FERRY-SEALING-KEY", fault.CodeOf(err), "a sealed secret opens in its place only")
	})
	has, err := iam.HasSecrets(t.Context(), d.db)
	require.NoError(t, err)
	require.True(t, has)

	other, err := iam.NewSealer(bytes.Repeat([]byte{8}, 32))
	require.NoError(t, err)
	_, err = iam.New(t.Context(), d.db, other, time.Now)
	require.Equal(t, "FERRY-SEALING-KEY", fault.CodeOf(err))
}

func (d *desk) View(do func(tx *store.Tx)) {
	d.Helper()
	require.NoError(d, d.db.View(d.Context(), func(tx *store.Tx) error { do(tx); return nil }))
}

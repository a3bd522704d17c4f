package reporter

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// An identity service with one user, and a service that takes its tokens.
type identity struct {
	mu      sync.Mutex
	issued  int
	life    time.Duration
	good    string // the token that is taken
	refuse  int    // status of the identity service, 0 for none
	skew    time.Duration
	forgets bool // answers without a token
}

func (i *identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(i.skew).UTC().Format(http.TimeFormat))
	switch {
	case r.URL.Path != "/v3/auth/tokens" && r.Header.Get(smsapi.AuthTokenHeader) != i.good:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path != "/v3/auth/tokens":
		io.WriteString(w, `{"flag":true}`)
	case i.refuse != 0:
		w.WriteHeader(i.refuse)
		io.WriteString(w, `{"error":{"code":401,"message":"The username or password is wrong."}}`)
	default:
		var request smsapi.AuthRequest
		body, _ := io.ReadAll(r.Body)
		if err := smsapi.Decode(body, &request); err != nil || request.Auth.Identity.Password.User.Password != "secret" || request.Auth.Scope.Domain.Name != "domain" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		i.issued++
		i.good = fmt.Sprint("token", i.issued)
		if !i.forgets {
			w.Header().Set(smsapi.SubjectTokenHeader, i.good)
		}
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(smsapi.AuthResponse{Token: smsapi.TokenInfo{ExpiresAt: smsapi.NewIAMTime(time.Now().Add(i.life))}})
	}
}

func (i *identity) set(change func(*identity)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func TestPasswordAuthRenews(t *testing.T) {
	i := &identity{life: 24 * time.Hour}
	server := httptest.NewServer(i)
	defer server.Close()
	auth := &PasswordAuth{IAM: server.URL, Domain: "domain", User: "user", Password: "secret"}
	c, err := Open(Options{Endpoint: server.URL, Auth: auth})
	require.NoError(t, err)
	defer c.Close()
	now := time.Now()
	c.now = func() time.Time { return now }
	ask := func() error {
		_, err := c.PrivacyAgreed(t.Context())
		return err
	}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() { _ = ask() })
	}
	group.Wait()
	require.NoError(t, ask())
	require.Equal(t, 1, i.issued, "one token for all")
	now = now.Add(23 * time.Hour)
	require.NoError(t, ask())
	require.Equal(t, 1, i.issued)
	now = now.Add(31 * time.Minute)
	require.NoError(t, ask())
	require.Equal(t, 2, i.issued, "half an hour before it ends")
	i.set(func(i *identity) { i.good = "revoked" })
	require.NoError(t, ask(), "a refused token is replaced at once")
	require.Equal(t, 3, i.issued)

	now = time.Now()
	i.set(func(i *identity) { i.good, i.refuse = "revoked", http.StatusUnauthorized })
	err = ask()
	require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(err))
	require.Contains(t, fault.RemedyOf(err), "password")
	require.Equal(t, codeKey, SMSCode(err))
	require.ErrorContains(t, err, "username or password is wrong")
	require.NotContains(t, err.Error(), "secret")
	i.set(func(i *identity) { i.skew = time.Hour })
	require.Equal(t, codeClock, SMSCode(ask()))
	i.set(func(i *identity) { i.refuse, i.forgets = 0, true })
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(ask()))
	i.set(func(i *identity) { i.refuse = http.StatusServiceUnavailable })
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(ask()))
	for _, format := range []string{"%v", "%+v", "%#v"} {
		require.NotContains(t, fmt.Sprintf(format, auth), "secret")
		require.NotContains(t, fmt.Sprintf(format, TokenAuth("secret")), "secret")
	}
}

func TestRenewal(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		``: 23*time.Hour + 30*time.Minute, `{`: 23*time.Hour + 30*time.Minute, `{"token":null}`: 23*time.Hour + 30*time.Minute,
		`{"token":{"expires_at":"2026-01-01T01:40:00.000000Z"}}`: 90 * time.Minute,
		`{"token":{"expires_at":"2026-01-01T00:00:00.000000Z"}}`: 54 * time.Second,
		`{"token":{"expires_at":"1999-01-01T00:00:00.000000Z"}}`: 54 * time.Second,
	} {
		require.Equal(t, want, renewal([]byte(text), now).Sub(now), text)
	}
}

func TestKeyAuthFindsItsDomain(t *testing.T) {
	asked := 0
	answer := `{"domains":[{"id":"d1","name":"n"}]}`
	key := smsapi.Key{AccessKey: "AK", SecretKey: "SK"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case key.Verify(r, body, time.Now()) != nil || r.Header.Get("X-Security-Token") != "session":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v3/auth/domains":
			asked++
			io.WriteString(w, answer)
		default:
			fmt.Fprintf(w, `{"id":%q}`, r.Header.Get("X-Domain-Id"))
		}
	}))
	defer server.Close()
	open := func(token string) *Client {
		c, err := Open(Options{Endpoint: server.URL, Auth: &KeyAuth{Key: key, SecurityToken: token, IAM: server.URL}})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	c := open("session")
	for range 3 {
		task, err := c.Task(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, "d1", task.ID)
	}
	require.Equal(t, 1, asked)
	_, err := open("expired").Task(t.Context(), "x")
	require.Equal(t, "FERRY-CREDENTIAL-EXPIRED", fault.CodeOf(err))
	require.Equal(t, codeExpired, SMSCode(err))
	for _, answer = range []string{`{"domains":[]}`, `null`, `{`} {
		_, err = open("session").Task(t.Context(), "x")
		require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(err))
	}
}

// Each failure below HTTP has its class and the service's code for it.
func TestNetworkFailures(t *testing.T) {
	ask := func(o Options) error {
		o.Auth = TokenAuth("t")
		c, err := Open(o)
		require.NoError(t, err)
		defer c.Close()
		c.http.Timeout = 2 * time.Second
		return c.ServiceConfig(t.Context())
	}
	silent := log.New(io.Discard, "", 0)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = silent
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = silent
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	dead := httptest.NewServer(nil)
	dead.Close()
	for name, c := range map[string]struct {
		url   string
		class fault.Class
		code  string
	}{
		"name":      {"http://no-such-host.invalid", fault.ClassTemporary, codeDomain},
		"untrusted": {secure.URL, fault.ClassOperator, codeTLS},
		"not TLS":   {"https://" + plain.Listener.Addr().String(), fault.ClassTemporary, codeTLS},
		"old TLS":   {old.URL, fault.ClassTemporary, codeTLS},
		"slow":      {slow.URL, fault.ClassTemporary, codeTimeout},
		"refused":   {dead.URL, fault.ClassTemporary, codeBusy},
	} {
		err := ask(Options{Endpoint: c.url})
		require.Equal(t, c.class, fault.ClassOf(err), "%s: %v", name, err)
		require.Equal(t, c.code, SMSCode(err), "%s: %v", name, err)
		var network *NetworkError
		require.ErrorAs(t, err, &network, name)
	}
	require.Empty(t, SMSCode(errors.New("anything else")))
	require.Equal(t, codePermission, SMSCode(fault.Operator("X", "", &APIError{Status: 403})))
	require.Equal(t, "SMS.9004", SMSCode(fault.Operator("X", "", &APIError{Status: 403, Code: "SMS.9004"})))
	require.Equal(t, codeBusy, SMSCode(fault.Temporary(&APIError{Status: 429})))
	require.Equal(t, time.Minute, RetryAfter(fault.Temporary(&APIError{RetryAfter: time.Minute})))
	require.True(t, IsGone(fmt.Errorf("x: %w", &APIError{Status: 404, Code: "SMS.1"})))
	require.False(t, IsGone(&APIError{Status: 404}), "anything in between can say 404")
}

func TestWhereTheIdentityServiceIs(t *testing.T) {
	for endpoint, want := range map[string]string{
		RegionEndpoint("cn-north-4"):  "https://iam.cn-north-4.myhuaweicloud.com",
		RegionEndpoint("ru-moscow-1"): "https://iam.ru-moscow-1.myhuaweicloud.com",
		"https://sms.example.com/":    "https://sms.example.com",
		"http://127.0.0.1:8899":       "http://127.0.0.1:8899",
	} {
		require.Equal(t, want, IAMOf(endpoint))
	}
}

// Every call of an agent goes where the API has it.
func TestAgentCalls(t *testing.T) {
	var seen []string
	client := service(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.EscapedPath())
		switch r.URL.Path {
		case "/v3/sources":
			io.WriteString(w, `{"id":"s"}`)
		case "/v3/tasks/t/speed-limit":
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error_code":"SMS.6302","error_msg":"none"}`)
		case "/v3/tasks/t/configuration-setting", "/v3/sources/s/command":
			io.WriteString(w, `{"configurations":[{"config_key":"K"}],"command_name":"START"}`)
		}
	})
	ctx := t.Context()
	require.NoError(t, client.ServiceConfig(ctx))
	require.NoError(t, client.AgreePrivacy(ctx))
	id, err := client.RegisterSource(ctx, smsapi.RegisterSource{})
	require.NoError(t, err)
	require.Equal(t, "s", id)
	require.NoError(t, client.KnowsSource(ctx, "s"))
	require.NoError(t, client.UpdateDisks(ctx, "s", smsapi.UpdateDiskInfo{}))
	command, err := client.Command(ctx, "s")
	require.NoError(t, err)
	require.Equal(t, smsapi.CommandStart, command.Name)
	windows, err := client.SpeedLimits(ctx, "t")
	require.NoError(t, err, "SMS.6302 says that there is no limit")
	require.Empty(t, windows)
	settings, err := client.TaskSettings(ctx, "t")
	require.NoError(t, err)
	require.Len(t, settings, 1)
	require.NoError(t, client.TaskAction(ctx, "t", smsapi.OpOverSpeed))
	require.NoError(t, client.UpdateNetworkCheck(ctx, "t", smsapi.NetworkCheck{}))
	require.NoError(t, client.PutLogs(ctx, "/v3/logs/x", []byte("log")))
	require.NoError(t, client.PutLogs(ctx, client.base.String()+"/signed", []byte("log")))
	for _, m := range []Message{
		{Task: "t", Progress: &smsapi.Progress{}}, {Source: "a/b", State: &smsapi.CopyState{}}, {Source: "s", Result: &smsapi.CommandResult{Detail: []byte("{}")}},
	} {
		require.NoError(t, client.Deliver(ctx, m))
	}
	require.Equal(t, fault.ClassPermanent, fault.ClassOf(client.Deliver(ctx, Message{})))
	require.Equal(t, []string{
		"GET /v3/config", "POST /v3/privacy-agreements", "POST /v3/sources", "GET /v3/sources/s", "PUT /v3/sources/s/diskinfo", "GET /v3/sources/s/command",
		"GET /v3/tasks/t/speed-limit", "GET /v3/tasks/t/configuration-setting", "POST /v3/tasks/t/action", "POST /v3/t/update-network-check-info", "PUT /v3/logs/x", "PUT /signed",
		"PUT /v3/tasks/t/progress", "PUT /v3/sources/a%2Fb/changestate", "POST /v3/sources/s/command_result",
	}, seen)
	err = client.PutLogs(ctx, "http://127.0.0.1:1/?secret", nil)
	require.NotContains(t, err.Error(), "secret")
}

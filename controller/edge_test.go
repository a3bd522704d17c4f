package controller_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// startWith runs a control plane on a new store.
func startWith(t *testing.T, c controller.Config) *plane {
	t.Helper()
	dir := t.TempDir()
	clock := &clock{at: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	c.Store, c.Now = "sqlite:"+filepath.Join(dir, "controller.db"), clock.now
	server, err := controller.Start(t.Context(), c)
	require.NoError(t, err)
	p := &plane{T: t, Server: server, clock: clock, http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		require.NoError(t, server.Close())
	})
	return p
}

// trust makes the client of p know the authority in a file.
func (p *plane) trust(caFile string) {
	text, err := os.ReadFile(caFile)
	require.NoError(p, err)
	pool := x509.NewCertPool()
	require.True(p, pool.AppendCertsFromPEM(text))
	p.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, Time: p.clock.now}
}

// open sends a request without any proof.
func (p *plane) open(method, path, body string) (*http.Response, string) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.URL()+path, strings.NewReader(body))
	require.NoError(p, err)
	response, err := p.http.Do(r)
	require.NoError(p, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(p, err)
	return response, string(text)
}

func TestProbes(t *testing.T) {
	p := startPlane(t, t.TempDir())
	p.create(example(t, "create_task_request.json"))
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/openapi.json": `"openapi":"3.0.3"`,
		"/metrics": `ferry_requests_total{operation="CreateTask",status="200"} 1`,
	} {
		response, body := p.open("GET", path, "")
		require.Equal(t, 200, response.StatusCode, path)
		require.Contains(t, body, want)
		require.NotContains(t, body, p.Key().AccessKey)
	}
	p.register(registration(nil))
	_, body := p.open("GET", "/metrics", "")
	require.Contains(t, body, `ferry_tasks{state="READY"} 1`)
	require.Contains(t, body, `ferry_sources{state="waiting",task="false"} 1`)
}

func TestTokenOverHTTP(t *testing.T) {
	p := startPlane(t, t.TempDir())
	request := fmt.Sprintf(`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":%q},"secret":{"key":%q}}}}}`,
		p.Key().AccessKey, p.Key().SecretKey)
	response, body := p.open("POST", "/v3/auth/tokens", request)
	require.Equal(t, http.StatusCreated, response.StatusCode, body)
	token := response.Header.Get("X-Subject-Token")
	require.NotContains(t, body, token, "it is in the header only")
	var answer smsapi.AuthResponse
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	expires, err := answer.Token.ExpiresAt.Time()
	require.NoError(t, err)
	require.Equal(t, 24*time.Hour, expires.Sub(p.clock.now()))

	for path, want := range map[string]string{
		"/v3/auth/domains":             `{"domains":[{"id":"ferry","name":"ferry","enabled":true}]}`,
		"/v3/projects?name=cn-north-4": `{"projects":[{"id":"ferry","name":"cn-north-4","domain_id":"ferry","is_domain":false,"enabled":true}]}`,
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", p.URL()+path, nil)
		require.NoError(t, err)
		r.Header.Set("X-Auth-Token", token)
		status, body := p.send(r)
		require.Equal(t, 200, status)
		require.JSONEq(t, want, string(body))
	}
	response, body = p.open("POST", "/v3/auth/tokens", strings.Replace(request, p.Key().SecretKey, "wrong", 1))
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.NotContains(t, body, p.Key().SecretKey)
}

// Whoever tries passwords is slowed down; the others are not.
func TestLoginsAreLimited(t *testing.T) {
	p := startPlane(t, t.TempDir())
	refused := `{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":"a"},"secret":{"key":"b"}}}}}`
	for range 30 {
		response, _ := p.open("POST", "/v3/auth/tokens", refused)
		require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	}
	response, body := p.open("POST", "/v3/auth/tokens", refused)
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	require.Contains(t, body, smsapi.CodeThrottled)
	require.Zero(t, p.list("").Count, "a signed request goes on")
	p.clock.add(time.Second)
	response, _ = p.open("POST", "/v3/auth/tokens", refused)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode, "one more a second")
}

func TestClientsAreLimited(t *testing.T) {
	p := startWith(t, controller.Config{Rate: 2})
	for range 4 { // two seconds' worth
		status, _ := p.do("GET", "/v3/tasks", nil)
		require.Equal(t, 200, status)
	}
	p.refused(http.StatusTooManyRequests, smsapi.CodeThrottled, "GET", "/v3/tasks", nil)
	p.clock.add(500 * time.Millisecond)
	status, _ := p.do("GET", "/v3/tasks", nil)
	require.Equal(t, 200, status)
}

func TestTLS(t *testing.T) {
	p := startWith(t, controller.Config{Listen: "0.0.0.0:0", Names: []string{"migration.example"}})
	require.Regexp(t, "^https://", p.URL())
	p.trust(p.CAFile())
	require.Zero(t, p.list("").Count)
	info, err := os.Stat(p.CAFile())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())

	port := p.URL()[strings.LastIndex(p.URL(), ":"):]
	config := p.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	peer := func(name string) (*x509.Certificate, error) {
		config.ServerName = name
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", "127.0.0.1"+port)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
	}
	first, err := peer("migration.example")
	require.NoError(t, err)
	_, err = peer("other.example")
	require.Error(t, err)
	config.MaxVersion = tls.VersionTLS11
	_, err = peer("localhost")
	require.Error(t, err, "nothing older than TLS 1.2")
	config.MaxVersion = 0
	p.clock.add(70 * 24 * time.Hour)
	second, err := peer("localhost")
	require.NoError(t, err)
	require.NotEqual(t, first.SerialNumber, second.SerialNumber, "renewed before it ends")

	response, err := p.http.Get("http://127.0.0.1" + port + "/healthz")
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusBadRequest, response.StatusCode, "no plain HTTP off loopback")
}

// A certificate that somebody else renews is read again; one half of a new pair changes nothing.
func TestGivenCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	renew := func(at time.Time) (cert, key []byte) {
		cert, key = certificate(t, "given.example")
		require.NoError(t, os.WriteFile(certFile, cert, 0o600))
		require.NoError(t, os.WriteFile(keyFile, key, 0o600))
		require.NoError(t, os.Chtimes(certFile, at, at))
		require.NoError(t, os.Chtimes(keyFile, at, at))
		return cert, key
	}
	now := time.Now()
	renew(now)
	p := startWith(t, controller.Config{Cert: certFile, CertKey: keyFile})
	require.Regexp(t, "^https://127.0.0.1", p.URL(), "a certificate means TLS, on loopback too")
	require.Empty(t, p.CAFile())
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", p.URL()[len("https://"):])
		require.NoError(t, err)
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	other, _ := certificate(t, "given.example")
	require.NoError(t, os.WriteFile(certFile, other, 0o600))
	require.Equal(t, first, serial(), "the key is still the old one's")
	renew(now.Add(time.Minute))
	require.NotEqual(t, first, serial())

	address := "sqlite:" + filepath.Join(t.TempDir(), "db")
	for _, bad := range []controller.Config{{Cert: certFile}, {CertKey: keyFile}, {Cert: keyFile, CertKey: certFile}, {Cert: "none", CertKey: "none"}} {
		bad.Store = address
		_, err := controller.Start(t.Context(), bad)
		require.Equal(t, "FERRY-TLS", fault.CodeOf(err), "%v", err)
	}
}

// A client that sends its header byte by byte, one with too large a header and one that promises a body it does not send are cut off.
func TestHostileClients(t *testing.T) {
	defer controller.SetHeaderTimeout(200 * time.Millisecond)()
	p := startPlane(t, t.TempDir())
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.URL()[len("http://"):])
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	slow := dial()
	_, err := slow.Write([]byte("GET /v3/tasks HTTP/1.1\r\nHost: x\r\nX-"))
	require.NoError(t, err)
	_, err = io.ReadAll(slow) // ends when the server gives up
	require.NoError(t, err)

	huge := dial()
	go huge.Write([]byte("GET /v3/tasks HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 128<<10) + "\r\n\r\n"))
	response, err := http.ReadResponse(bufio.NewReader(huge), nil)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)

	liar := dial()
	_, err = liar.Write([]byte("POST /v3/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"))
	require.NoError(t, err)
	response, err = http.ReadResponse(bufio.NewReader(liar), nil)
	require.NoError(t, err, "a stranger is refused before anything of its body is read")
	response.Body.Close()
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.Zero(t, p.list("").Count, "the others are served")
}

// Bodies of every route are limited, whatever the caller.
func TestLargeBodies(t *testing.T) {
	p := startPlane(t, t.TempDir())
	large := bytes.Repeat([]byte(" "), 1<<20)
	for _, route := range []string{"POST /v3/auth/tokens", "POST /v3/nothing", "PUT /v3/sources/x/changestate", "GET /v3/tasks"} {
		method, path, _ := strings.Cut(route, " ")
		p.refused(http.StatusRequestEntityTooLarge, smsapi.CodeTooLarge, method, path, large)
	}
}

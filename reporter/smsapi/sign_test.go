package smsapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

var (
	vectorKey  = smsapi.Key{AccessKey: "AccessKey", SecretKey: "SecretKey"}
	vectorTime = time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
)

// The vectors of signer_test.go in huaweicloud-sdk-go-v3.
func TestSignVectors(t *testing.T) {
	for _, c := range []struct{ method, query, body, want string }{
		{"GET", "limit=1", "", "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624"},
		{"POST", "key=value", `{"Name":"test","Id":1}` + "\n", "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59"},
	} {
		r := httptest.NewRequest(c.method, "https://example.huaweicloud.com/path?"+c.query, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header["TEST_UNDERSCORE"] = []string{"ignored"}
		vectorKey.Sign(r, []byte(c.body), vectorTime)
		require.Equal(t, "SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-date, Signature="+c.want, r.Header.Get("Authorization"))
		require.NoError(t, vectorKey.Verify(r, []byte(c.body), vectorTime))
	}
}

func TestCanonicalQueryVector(t *testing.T) {
	// The signature covers the query as the vendor's SDK writes it, so two spellings of it sign alike and another value does not.
	spelt := "enable=true&limit=1&multi=1&multi=2&multi=3&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29"
	values := url.Values{
		"limit": {"1"}, "enable": {"true"}, "test": {"一 (&=?!#%.*)"}, "path": {"/tmp/123"}, "multi": {"3", "1", "2"},
	}
	sign := func(query string) string {
		r := httptest.NewRequest("GET", "http://x/v3/tasks?"+query, nil)
		vectorKey.Sign(r, nil, vectorTime)
		return r.Header.Get("Authorization")
	}
	require.Equal(t, sign(spelt), sign(values.Encode()))
	values.Set("limit", "2")
	require.NotEqual(t, sign(spelt), sign(values.Encode()))
}

func TestVerifyRefuses(t *testing.T) {
	key := smsapi.Key{AccessKey: "AK", SecretKey: "SK", DomainID: "domain"}
	body := []byte(`{"a":1}`)
	for name, c := range map[string]struct {
		break_ func(r *http.Request)
		at     time.Time
		want   error
	}{
		"as it was":        {func(*http.Request) {}, vectorTime, nil},
		"14 minutes early": {func(*http.Request) {}, vectorTime.Add(-14 * time.Minute), nil},
		"no signature":     {func(r *http.Request) { r.Header.Del("Authorization") }, vectorTime, smsapi.ErrUnsigned},
		"other scheme":     {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, vectorTime, smsapi.ErrUnsigned},
		"no parts":         {func(r *http.Request) { r.Header.Set("Authorization", "SDK-HMAC-SHA256 ,,=") }, vectorTime, smsapi.ErrUnsigned},
		"other key": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Access=AK", "Access=KA", 1))
		}, vectorTime, smsapi.ErrKey},
		"other method":    {func(r *http.Request) { r.Method = "DELETE" }, vectorTime, smsapi.ErrSignature},
		"other path":      {func(r *http.Request) { r.URL.Path = "/v3/sources" }, vectorTime, smsapi.ErrSignature},
		"slash in a name": {func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/v3/tasks", "/v3%2Ftasks" }, vectorTime, smsapi.ErrSignature},
		"other query":     {func(r *http.Request) { r.URL.RawQuery = "limit=2" }, vectorTime, smsapi.ErrSignature},
		"hidden query":    {func(r *http.Request) { r.URL.RawQuery = "limit=1&state=a;b" }, vectorTime, smsapi.ErrSignature},
		"other header":    {func(r *http.Request) { r.Header.Set("X-Domain-Id", "other") }, vectorTime, smsapi.ErrSignature},
		"unsigned date": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";x-sdk-date", "", 1))
		}, vectorTime, smsapi.ErrUnsigned},
		"date changed": {func(r *http.Request) { r.Header.Set("X-Sdk-Date", "20060102T150406Z") }, vectorTime, smsapi.ErrSignature},
		"no date":      {func(r *http.Request) { r.Header.Del("X-Sdk-Date") }, vectorTime, smsapi.ErrUnsigned},
		"16 min later": {func(*http.Request) {}, vectorTime.Add(16 * time.Minute), smsapi.ErrSkew},
		"16 min early": {func(*http.Request) {}, vectorTime.Add(-16 * time.Minute), smsapi.ErrSkew},
		"payload left out": {func(r *http.Request) {
			r.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
		}, vectorTime, smsapi.ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://x/v3/tasks?limit=1", nil)
			key.Sign(r, body, vectorTime)
			c.break_(r)
			require.ErrorIs(t, key.Verify(r, body, c.at), c.want)
		})
	}
	r := httptest.NewRequest("POST", "http://x/v3/tasks", nil)
	key.Sign(r, body, vectorTime)
	require.ErrorIs(t, key.Verify(r, []byte(`{"a":2}`), vectorTime), smsapi.ErrSignature, "other body")
	require.ErrorIs(t, smsapi.Key{AccessKey: "AK", SecretKey: "other"}.Verify(r, body, vectorTime), smsapi.ErrSignature, "other secret")
}

func TestVerifySignedHost(t *testing.T) {
	// Other SDKs of the vendor sign the host, which net/http keeps apart from the headers.
	r := httptest.NewRequest("GET", "http://example.com/v3/tasks", nil)
	r.Header.Set("Host", r.Host)
	vectorKey.Sign(r, nil, vectorTime)
	require.Contains(t, r.Header.Get("Authorization"), "SignedHeaders=host;x-sdk-date")
	r.Header.Del("Host")
	require.NoError(t, vectorKey.Verify(r, nil, vectorTime))
	r.Host = "elsewhere"
	require.ErrorIs(t, vectorKey.Verify(r, nil, vectorTime), smsapi.ErrSignature)
}

func TestKeyShowsNoSecret(t *testing.T) {
	key := smsapi.Key{AccessKey: "AK", SecretKey: "hush"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, key), "hush")
		require.NotContains(t, fmt.Sprintf(format, struct{ K smsapi.Key }{key}), "hush")
	}
	require.NotContains(t, key.LogValue().String(), "hush")
}

func FuzzVerify(f *testing.F) {
	f.Add("SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-date, Signature=00", "/v3/tasks", "limit=1", []byte("{}"))
	f.Fuzz(func(t *testing.T, authorization, path, query string, body []byte) {
		r := &http.Request{
			Method: "PUT", URL: &url.URL{Path: path, RawQuery: query},
			Header: http.Header{"Authorization": {authorization}, "X-Sdk-Date": {vectorTime.Format("20060102T150405Z")}},
		}
		require.Error(t, vectorKey.Verify(r, body, vectorTime), "nobody signed this")
		if _, err := url.ParseQuery(query); err != nil {
			return
		}
		vectorKey.Sign(r, body, vectorTime)
		require.NoError(t, vectorKey.Verify(r, body, vectorTime))
	})
}

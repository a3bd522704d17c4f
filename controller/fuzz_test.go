package controller

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// Whatever an admitted client sends to whichever operation, it is answered or refused: nothing panics, and nothing fails inside.
func FuzzOperations(f *testing.F) {
	s, err := Start(f.Context(), Config{Store: "sqlite:" + filepath.Join(f.TempDir(), "db")})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	examples, err := filepath.Glob("../reporter/smsapi/testdata/*.json")
	require.NoError(f, err)
	for i := range routes {
		f.Add(i, "id", "limit=1", []byte(`{}`))
	}
	for i, file := range examples {
		body, err := os.ReadFile(file)
		require.NoError(f, err)
		for j, route := range routes {
			if route.Request != nil {
				f.Add(j, "id", strings.Repeat("offset=1&", i%3), body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which int, id, query string, body []byte) {
		route := routes[uint(which)%uint(len(routes))]
		r := httptest.NewRequestWithContext(t.Context(), route.Method, "/", bytes.NewReader(body))
		r.URL.RawQuery = query
		if _, err := url.ParseQuery(query); err != nil {
			r.URL.RawQuery = "" // refused with the signature
		}
		for _, name := range pathParameter.FindAllStringSubmatch(route.Path, -1) {
			r.SetPathValue(name[1], id)
		}
		r = r.WithContext(withCaller(r.Context(), iam.Caller{ID: "fuzz", Name: "fuzz", Role: iam.Admin}))
		answer, err := route.serve(s, r, body)
		if err != nil {
			var e *smsapi.Error
			var slow *throttle
			if !errors.As(err, &e) && !errors.As(err, &slow) && !iam.Refused(err) {
				t.Fatalf("%s fails inside: %v", route.Name, err)
			}
			answer = s.refusal(err, "id", route)
		}
		if status := write(httptest.NewRecorder(), answer, route.Status); status == http.StatusInternalServerError {
			t.Fatalf("%s cannot be answered: %#v", route.Name, answer)
		}
	})
}

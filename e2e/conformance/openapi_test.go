package conformance

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// The control plane describes itself: the document is valid, every operation of the table is in it, and what goes over the wire is as it
// says, requests and answers, field by field.
func TestOpenAPI(t *testing.T) {
	p := start(t)
	document := p.document(t)
	s := newSession(p, p.signing(t, p.key), 10)
	for _, o := range operations {
		if o.name == "DeleteTask" {
			s.spare(t)
		}
		s.documented(t, o, document)
	}
}

// document returns what a control plane says of itself.
func (p *plane) document(t *testing.T) *openapi3.T {
	t.Helper()
	response, err := http.Get(p.URL + "/openapi.json")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	document, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, document.Validate(t.Context()))
	return document
}

// documented finds an operation in the document and calls it.
func (s *session) documented(t *testing.T, o operation, document *openapi3.T) {
	t.Helper()
	item := document.Paths.Value(o.path)
	if item == nil || item.GetOperation(o.method) == nil {
		t.Errorf("%s %s (%s) is not described", o.method, o.path, o.name)
		return
	}
	described := item.GetOperation(o.method)
	require.Equal(t, o.name, described.OperationID)
	require.Equal(t, strings.Contains(o.request, `"body"`), described.RequestBody != nil, o.name)
	require.NotNil(t, described.Responses.Default(), o.name)
	s.described(t, o, described)
}

// described calls an operation, whose request and answer must be as they are described.
func (s *session) described(t *testing.T, o operation, described *openapi3.Operation) {
	t.Helper()
	request := s.fill(o.request)
	if described.RequestBody != nil {
		body := decoded(t, request).(map[string]any)["body"]
		require.NoError(t, described.RequestBody.Value.Content.Get("application/json").Schema.Value.VisitJSON(body), o.name)
	}
	status, _, answer := s.raw(t, s.key, s.plane, o, request)
	require.Equal(t, cmp.Or(o.status, http.StatusOK), status, "%s: %s", o.name, answer)
	success := described.Responses.Status(status)
	require.NotNil(t, success, o.name)
	content := success.Value.Content.Get("application/json")
	if content == nil {
		require.False(t, strings.HasPrefix(answer, "{"), "%s answers %s, which is not described", o.name, answer)
		return
	}
	value := decoded(t, answer)
	require.NoError(t, content.Schema.Value.VisitJSON(value), "%s: %s", o.name, answer)
	if o.save != "" {
		s.saved[o.as], _ = value.(map[string]any)[o.save].(string)
	}
}

func decoded(t *testing.T, text string) (value any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &value), text)
	return value
}

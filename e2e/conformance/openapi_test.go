package conformance

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// The control plane describes itself: the document is valid, and every operation of the table is in it, with its parameters.
func TestOpenAPI(t *testing.T) {
	p := start(t)
	response, err := http.Get(p.URL + "/openapi.json")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	document, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, document.Validate(t.Context(), openapi3.EnableExamplesValidation()))
	for _, o := range operations {
		item := document.Paths.Value(o.path)
		if item == nil || item.GetOperation(o.method) == nil {
			t.Errorf("%s %s (%s) is not described", o.method, o.path, o.name)
			continue
		}
		described := item.GetOperation(o.method)
		require.Equal(t, o.name, described.OperationID)
		require.Equal(t, strings.Contains(o.request, `"body"`), described.RequestBody != nil, o.name)
		require.NotNil(t, described.Responses.Status(http.StatusOK), o.name)
		require.NotNil(t, described.Responses.Default(), o.name)
	}
}

package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/impl"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/invoker"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/region"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	dcs "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dcs/v2"
	sms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/sms/v3"
	"github.com/stretchr/testify/require"
)

// A client is the SDK's client of one caller.
type client struct {
	service any               // *sms.SmsClient or *dcs.DcsClient
	headers map[string]string // sent, and signed, with every request
}

// signing returns a client that signs with k. The SDK asks the control plane for its domain first, as it asks the service.
func (p *plane) signing(t *testing.T, k key) *client {
	t.Helper()
	credential, err := global.NewCredentialsBuilder().WithAk(k.Access).WithSk(k.Secret).WithIamEndpointOverride(p.URL).SafeBuild()
	require.NoError(t, err)
	return p.client(t, credential, "global.Credentials")
}

// stranger returns a client that signs with a key that may be wrong, and asks nothing first.
func (p *plane) stranger(t *testing.T, k key) *client {
	t.Helper()
	credential, err := global.NewCredentialsBuilder().WithAk(k.Access).WithSk(k.Secret).WithDomainId(k.Domain).SafeBuild()
	require.NoError(t, err)
	return p.client(t, credential, "global.Credentials")
}

// bearing returns a client that sends a token, which it gets with a password.
func (p *plane) bearing(t *testing.T, name, password string) *client {
	t.Helper()
	return p.client(t, token(p.token(t, name, password)), "conformance.token")
}

func (p *plane) client(t *testing.T, credential auth.ICredential, kind string) *client {
	t.Helper()
	hc, err := core.NewHcHttpClientBuilder().WithRegion(region.NewRegion("ferry", p.URL)).
		WithCredentialsType(kind).WithCredential(credential).SafeBuild()
	require.NoError(t, err)
	return &client{service: sms.NewSmsClient(hc)}
}

// redis returns a client for migrations of Redis, which signs with k.
func (p *plane) redis(t *testing.T, k key) *client {
	t.Helper()
	credential, err := basic.NewCredentialsBuilder().WithAk(k.Access).WithSk(k.Secret).WithProjectId(k.Project).SafeBuild()
	require.NoError(t, err)
	hc, err := dcs.DcsClientBuilder().WithEndpoints([]string{p.URL}).WithCredential(credential).SafeBuild()
	require.NoError(t, err)
	return &client{service: dcs.NewDcsClient(hc)}
}

// token is a credential of the SDK that sends a token instead of a signature.
type token string

// ProcessAuthParams has nothing to find out.
func (k token) ProcessAuthParams(*impl.DefaultHttpClient, string) (auth.ICredential, error) {
	return k, nil
}

// ProcessAuthRequest adds the token.
func (k token) ProcessAuthRequest(_ *impl.DefaultHttpClient, r *request.DefaultHttpRequest) (*request.DefaultHttpRequest, error) {
	r.AddHeaderParam("X-Auth-Token", string(k))
	return r, nil
}

// token asks for a token as the identity service's documents say.
func (p *plane) token(t *testing.T, name, password string) string {
	t.Helper()
	status, header, answer := p.login(t, map[string]any{
		"methods": []string{"password"},
		"password": map[string]any{"user": map[string]any{
			"name": name, "password": password, "domain": map[string]any{"name": p.key.Domain},
		}},
	})
	require.Equal(t, http.StatusCreated, status, answer)
	require.NotEmpty(t, header.Get("X-Subject-Token"))
	return header.Get("X-Subject-Token")
}

func (p *plane) login(t *testing.T, identity map[string]any) (status int, header http.Header, answer string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": identity, "scope": map[string]any{"domain": map[string]any{"name": p.key.Domain}},
	}})
	require.NoError(t, err)
	response, err := http.Post(p.URL+"/v3/auth/tokens", "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(text)
}

// call calls the operation of the SDK's client called name. The request is the JSON of the SDK's request type: parameters of path and
// query by name, the body under "body". It returns the answer as JSON decodes it.
func (c *client) call(name, requestJSON string) (answer map[string]any, err error) {
	method := reflect.ValueOf(c.service).MethodByName(name + "Invoker")
	if !method.IsValid() {
		return nil, fmt.Errorf("the SDK has no operation %s", name)
	}
	in := reflect.New(method.Type().In(0).Elem())
	if err := json.Unmarshal([]byte(requestJSON), in.Interface()); err != nil {
		return nil, fmt.Errorf("%s: the SDK does not take %s: %w", name, requestJSON, err)
	}
	invoked := method.Call([]reflect.Value{in})[0]
	base := invoked.Elem().FieldByName("BaseInvoker").Interface().(*invoker.BaseInvoker)
	result, err := base.AddHeaders(c.headers).Invoke()
	if err != nil {
		return nil, err
	}
	response := reflect.ValueOf(result).Elem()
	if body := response.FieldByName("Body"); body.IsValid() && body.Type() == reflect.TypeFor[io.ReadCloser]() {
		stream := body.Interface().(io.ReadCloser)
		defer stream.Close()
		text, err := io.ReadAll(stream)
		return map[string]any{"stream": string(text)}, err
	}
	text, err := json.Marshal(response.Interface())
	if err != nil {
		return nil, err
	}
	return answer, json.Unmarshal(text, &answer)
}

// refusal returns the error of the service in err.
func refusal(t *testing.T, err error) *sdkerr.ServiceResponseError {
	t.Helper()
	var e *sdkerr.ServiceResponseError
	if !errors.As(err, &e) {
		require.Failf(t, "no answer of the service", "%v", err)
	}
	return e
}

// raw sends the operation as plain JSON, signed by the SDK: what the SDK's own types cannot say.
func (c *client) raw(t *testing.T, k key, p *plane, o operation, requestJSON string) (status int, code, answer string) {
	t.Helper()
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(requestJSON))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&fields), requestJSON)
	body, hasBody := fields["body"]
	path, query := strings.ReplaceAll(o.path, "{project_id}", k.Project), url.Values{}
	for name, value := range fields {
		switch text := fmt.Sprint(value); {
		case name == "body":
		case strings.Contains(path, "{"+name+"}"):
			path = strings.ReplaceAll(path, "{"+name+"}", text)
		default:
			query.Set(name, text)
		}
	}
	builder := request.NewHttpRequestBuilder().WithEndpoint(p.URL).WithMethod(o.method).WithPath(path).
		WithSigningAlgorithm("HmacSHA256").AddHeaderParam("Content-Type", "application/json")
	for name := range query {
		builder.AddQueryParam(name, reflect.ValueOf(query.Get(name)))
	}
	if hasBody {
		builder.WithBody("", body)
	}
	credential, err := global.NewCredentialsBuilder().WithAk(k.Access).WithSk(k.Secret).WithDomainId(k.Domain).SafeBuild()
	require.NoError(t, err)
	signed, err := credential.ProcessAuthRequest(nil, builder.Build())
	require.NoError(t, err)
	sent, err := signed.ConvertRequest()
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(sent)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var e struct {
		Code string `json:"error_code"`
	}
	_ = json.Unmarshal(text, &e) // a success has no code
	return response.StatusCode, e.Code, string(text)
}

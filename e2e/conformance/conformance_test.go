package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	sms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/sms/v3"
	"github.com/stretchr/testify/require"
)

const password = "correct horse battery"

// A session works through the table as one caller.
type session struct {
	*plane
	*client
	saved map[string]string
}

func newSession(p *plane, c *client, run int) *session {
	return &session{plane: p, client: c, saved: map[string]string{"run": fmt.Sprint(run), "mac": fmt.Sprintf("00:16:3e:00:00:%02x", run)}}
}

// fill puts what was saved into a request.
func (s *session) fill(text string) string {
	for name, value := range s.saved {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// do calls an operation, which must succeed and show what it should.
func (s *session) do(t *testing.T, o operation) {
	t.Helper()
	answer, err := s.call(o.name, s.fill(o.request))
	require.NoError(t, err)
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(answer))
	for _, shown := range o.shows {
		require.Contains(t, text.String(), s.fill(shown))
	}
	if o.save != "" {
		value, _ := answer[o.save].(string)
		require.NotEmpty(t, value, text.String())
		s.saved[o.as] = value
	}
}

// spare makes what the operations that delete delete.
func (s *session) spare(t *testing.T) {
	t.Helper()
	keep, mac := s.saved["source"], s.saved["mac"]
	for i, of := range []string{"", "2"} {
		s.saved["mac"] = mac[:12] + fmt.Sprintf("%02x", i+1) + mac[14:]
		for _, o := range []operation{
			{name: "RegisterServer", request: source, save: "id", as: "spare" + of},
			{name: "RegisterServer", request: strings.ReplaceAll(source, "{mac}", "{mac}0"), save: "id", as: "source"},
			{name: "CreateTask", request: task, save: "id", as: "idle" + of},
		} {
			s.do(t, o)
		}
	}
	s.saved["source"], s.saved["mac"] = keep, mac
	s.do(t, operation{name: "CreateMigproject", request: strings.ReplaceAll(`{"body":{`+project+`}}`, "{run}", "{run}-2"), save: "id", as: "project2"})
	s.do(t, operation{name: "CreateTemplate", request: strings.ReplaceAll(`{"body":{"template":{`+template+`}}}`, "{run}", "{run}-2"), save: "id", as: "template2"})
}

// all runs the whole table; one operation that fails leaves the others to be tried.
func (s *session) all(t *testing.T) {
	for _, o := range operations {
		if o.name == "DeleteTask" {
			s.spare(t)
		}
		t.Run(o.name, func(t *testing.T) { s.do(t, o) })
	}
}

// The table is the SDK's, whole.
func TestTable(t *testing.T) {
	var named []string
	for _, o := range operations {
		require.NotContains(t, named, o.name)
		named = append(named, o.name)
	}
	require.Len(t, named, 49)
	client := reflect.TypeFor[*sms.SmsClient]()
	for i := range client.NumMethod() {
		if name := client.Method(i).Name; !strings.HasSuffix(name, "Invoker") {
			require.Contains(t, named, name)
		}
	}
}

func TestSigned(t *testing.T) {
	p := start(t)
	newSession(p, p.signing(t, p.key), 1).all(t)
}

func TestToken(t *testing.T) {
	p := start(t)
	p.user(t, "ann", "admin", password)
	newSession(p, p.bearing(t, "ann", password), 2).all(t)
}

// owned is a path that names a source or a task.
var owned = regexp.MustCompile(`\{(source|server|task)_id\}`)

// An agent calls what is of its own source with a key that can do nothing else.
func TestAgent(t *testing.T) {
	p := start(t)
	admin := newSession(p, p.signing(t, p.key), 3)
	agent := newSession(p, p.signing(t, p.user(t, "agent", "agent", "")), 3)
	agent.saved = admin.saved
	other := newSession(p, p.signing(t, p.user(t, "other", "agent", "")), 4)
	reader := newSession(p, p.signing(t, p.user(t, "reader", "reader", "")), 5)
	for _, o := range operations {
		if o.name == "DeleteTask" {
			break
		}
		by := admin
		if o.agent {
			by = agent
		}
		t.Run(o.name, func(t *testing.T) {
			by.do(t, o)
			request := by.fill(o.request)
			if o.agent && owned.MatchString(o.path) {
				_, err := other.call(o.name, request)
				require.Equal(t, http.StatusForbidden, refusal(t, err).StatusCode, "another agent")
			}
			if secret := slices.Contains([]string{"ShowCertKey", "ShowPassphrase", "ShowTargetPassword"}, o.name); secret || o.method != "GET" {
				_, err := reader.call(o.name, request)
				e := refusal(t, err)
				require.Equal(t, http.StatusForbidden, e.StatusCode, "a reader")
				require.Equal(t, "SMS.9004", e.ErrorCode)
			}
			if !o.agent && o.method != "GET" {
				_, err := agent.call(o.name, request)
				require.Equal(t, http.StatusForbidden, refusal(t, err).StatusCode, "an agent")
			}
		})
	}
}

// Nobody gets in with a wrong secret, an unknown key, a wrong clock or a token that is none.
func TestStrangers(t *testing.T) {
	p := start(t)
	wrong, unknown := p.key, p.key
	wrong.Secret = strings.Repeat("x", 40)
	unknown.Access = "FERRYNOBODYNOBODY123"
	clock := func(off time.Duration) *client {
		c := p.signing(t, p.key)
		c.headers = map[string]string{"X-Sdk-Date": time.Now().UTC().Add(off).Format("20060102T150405Z")}
		return c
	}
	strangers := map[string]*client{
		"late": clock(-16 * time.Minute), "early": clock(16 * time.Minute),
		"no token":     p.client(t, token("nonsense"), "conformance.token"),
		"wrong secret": p.stranger(t, wrong), "unknown key": p.stranger(t, unknown),
	}
	filled := newSession(p, nil, 6)
	for _, name := range []string{"project", "template", "source", "task", "idle", "idle2", "spare", "spare2", "project2", "template2"} {
		filled.saved[name] = "00000000-0000-0000-0000-000000000000"
	}
	for name, stranger := range strangers {
		for _, o := range operations {
			_, err := stranger.call(o.name, filled.fill(o.request))
			e := refusal(t, err)
			require.Equal(t, http.StatusUnauthorized, e.StatusCode, "%s: %s", name, o.name)
			require.Equal(t, "APIGW.0301", e.ErrorCode)
			require.NotEmpty(t, e.RequestId)
		}
	}
	in := clock(-14 * time.Minute)
	_, err := in.call("ListTasks", `{}`)
	require.NoError(t, err, "a clock may be a little wrong")
}

// What names something that is not there is refused with 404.
func TestUnknown(t *testing.T) {
	p := start(t)
	s := newSession(p, p.signing(t, p.key), 7)
	for _, name := range []string{"project", "template", "source", "task", "idle", "spare", "project2"} {
		s.saved[name] = "00000000-0000-0000-0000-000000000000"
	}
	for _, o := range operations {
		if !strings.Contains(o.path, "{") {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			_, err := s.call(o.name, strings.Replace(s.fill(o.request), `"v3"`, `"v9"`, 1))
			e := refusal(t, err)
			require.Equal(t, http.StatusNotFound, e.StatusCode, e.ErrorMessage)
			require.NotEmpty(t, e.ErrorCode)
		})
	}
}

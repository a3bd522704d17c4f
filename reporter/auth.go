package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Auth proves to the service who sends a request. It is for concurrent use, and belongs to one Client.
type Auth interface {
	// Sign adds the proof to r, whose body is exactly body. It may ask the identity service first, through c.
	Sign(ctx context.Context, c *Client, r *http.Request, body []byte) error
	// Renew drops a proof that was refused and reports whether a new one can be had.
	Renew() bool
	// Temporary reports whether the proof ends by itself and cannot be renewed here.
	Temporary() bool
}

// KeyAuth signs requests with an access key (SDK-HMAC-SHA256). The service wants to know the key's domain: it is asked of the
// identity service when Key has none and IAM is set.
type KeyAuth struct {
	Key           smsapi.Key
	SecurityToken string // of a temporary key
	IAM           string // URL of the identity service; may be empty

	mu sync.Mutex
}

// Sign implements Auth.
func (a *KeyAuth) Sign(ctx context.Context, c *Client, r *http.Request, body []byte) error {
	key, err := a.key(ctx, c)
	if err != nil {
		return err
	}
	a.sign(r, body, key, c.now())
	return nil
}

func (a *KeyAuth) sign(r *http.Request, body []byte, key smsapi.Key, now time.Time) {
	if a.SecurityToken != "" {
		r.Header.Set("X-Security-Token", a.SecurityToken)
	}
	key.Sign(r, body, now)
}

// Renew implements Auth: a key stays what it is.
func (a *KeyAuth) Renew() bool { return false }

// Temporary implements Auth.
func (a *KeyAuth) Temporary() bool { return a.SecurityToken != "" }

// key returns the key with its domain.
func (a *KeyAuth) key(ctx context.Context, c *Client) (smsapi.Key, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Key.DomainID != "" || a.IAM == "" {
		return a.Key, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.IAM+"/v3/auth/domains", nil)
	if err != nil {
		return a.Key, err
	}
	a.sign(r, nil, a.Key, c.now())
	response, answer, err := c.do(ctx, r)
	if err == nil && response.StatusCode/100 != 2 {
		err = c.refusal(response, answer)
	}
	if err != nil {
		return a.Key, fmt.Errorf("ask for the domain of the access key: %w", err)
	}
	var list smsapi.DomainList
	if json.Unmarshal(answer, &list) != nil || len(list.Domains) == 0 || list.Domains[0].ID == "" {
		return a.Key, fault.Operator("FERRY-CONTROLLER-KEY", "set domain_id in the configuration", errors.New("the identity service names no domain of the access key"))
	}
	a.Key.DomainID = list.Domains[0].ID
	return a.Key, nil
}

// TokenAuth sends a token that somebody else got, as X-Auth-Token.
type TokenAuth string

// Sign implements Auth.
func (a TokenAuth) Sign(_ context.Context, _ *Client, r *http.Request, _ []byte) error {
	r.Header.Set(smsapi.AuthTokenHeader, string(a))
	return nil
}

// Renew implements Auth: it cannot.
func (a TokenAuth) Renew() bool { return false }

// Temporary implements Auth: every token is.
func (a TokenAuth) Temporary() bool { return true }

// String hides the token.
func (a TokenAuth) String() string { return "token" }

// GoString hides the token too.
func (a TokenAuth) GoString() string { return "token" }

const (
	renewBefore   = 30 * time.Minute // before a token ends
	shortestToken = time.Minute      // a new one is good for this long, whatever the identity service says
)

// PasswordAuth gets a token of the identity service for a user's password, uses it while it holds and asks for the next one half
// an hour before it ends, or in the last tenth of its life if that is shorter, or when the service refuses it.
type PasswordAuth struct {
	IAM      string // URL of the identity service
	Domain   string // name of the user's domain, which the token is for
	User     string
	Password string

	mu    sync.Mutex
	token string
	renew time.Time // when to ask for the next one
}

// Sign implements Auth. One request at a time asks for a token, the others wait for it.
func (a *PasswordAuth) Sign(ctx context.Context, c *Client, r *http.Request, _ []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == "" || !c.now().Before(a.renew) {
		if err := a.ask(ctx, c); err != nil {
			return fmt.Errorf("ask the identity service for a token: %w", err)
		}
	}
	r.Header.Set(smsapi.AuthTokenHeader, a.token)
	return nil
}

// Renew implements Auth.
func (a *PasswordAuth) Renew() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
	return true
}

// Temporary implements Auth: the password stays.
func (a *PasswordAuth) Temporary() bool { return false }

// String hides the password.
func (a *PasswordAuth) String() string { return "password of " + a.User }

// GoString hides the password too.
func (a *PasswordAuth) GoString() string { return a.String() }

// ask gets a token. The caller holds mu.
func (a *PasswordAuth) ask(ctx context.Context, c *Client) error {
	domain := &smsapi.NameID{Name: a.Domain}
	body, err := json.Marshal(smsapi.AuthRequest{Auth: smsapi.Authentication{
		Identity: smsapi.Identity{
			Methods:  []smsapi.AuthMethod{smsapi.MethodPassword},
			Password: &smsapi.PasswordIdentity{User: smsapi.PasswordUser{Name: a.User, Password: a.Password, Domain: domain}},
		},
		Scope: &smsapi.Scope{Domain: domain},
	}})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.IAM+"/v3/auth/tokens", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, answer, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return a.refused(c.refusal(response, answer))
	}
	token := response.Header.Get(smsapi.SubjectTokenHeader)
	if smsapi.CheckToken(token) != nil {
		return fault.Temporary(fmt.Errorf("its answer has no token: %w", errNotAPI))
	}
	a.token, a.renew = token, renewal(answer, c.now())
	return nil
}

// refused says of a 401 that it is about the password.
func (a *PasswordAuth) refused(err error) error {
	var e *APIError
	if errors.As(err, &e) && e.Status == http.StatusUnauthorized && fault.CodeOf(err) != "FERRY-CLOCK" {
		return fault.Operator("FERRY-CONTROLLER-KEY", "check user, domain and password of the identity service", e)
	}
	return err
}

// renewal returns when to replace a token that came with this answer at now.
func renewal(answer []byte, now time.Time) time.Time {
	var body smsapi.AuthResponse
	life := 24 * time.Hour // the service's documented one
	if json.Unmarshal(answer, &body) == nil {
		if ends, err := body.Token.ExpiresAt.Time(); err == nil {
			life = max(ends.Sub(now), shortestToken)
		}
	}
	return now.Add(life - min(renewBefore, life/10))
}

// IAMOf returns the URL of the identity service beside the service at endpoint: the vendor's for its own names, else endpoint
// itself, as `ferry controller` answers for both.
func IAMOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	name, rest, _ := strings.Cut(u.Host, ".")
	if (name == "sms" || name == "sms-api") && strings.HasSuffix(rest, "myhuaweicloud.com") {
		return "https://iam." + rest
	}
	return strings.TrimSuffix(endpoint, "/")
}

// RegionEndpoint returns the URL of the vendor's service in a region.
func RegionEndpoint(region string) string {
	if region == "ru-moscow-1" {
		return "https://sms-api.ru-moscow-1.myhuaweicloud.com"
	}
	return "https://sms." + region + ".myhuaweicloud.com"
}

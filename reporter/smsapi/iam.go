package smsapi

import (
	"net/http"
	"time"
)

// Headers that carry a token: the answer of POST /v3/auth/tokens brings it in the one, requests send it in the other.
const (
	SubjectTokenHeader = "X-Subject-Token"
	AuthTokenHeader    = "X-Auth-Token"
)

// maxToken is the longest token, in characters.
const maxToken = 16384

// CheckToken returns an *Error unless text has the length of a token.
func CheckToken(text string) error {
	if text == "" || len(text) > maxToken {
		return invalid("%s: 1 to %d characters", AuthTokenHeader, maxToken)
	}
	return nil
}

// AuthMethod is how the sender of an AuthRequest proves who it is.
type AuthMethod string

// The methods.
const (
	MethodPassword  AuthMethod = "password"
	MethodAccessKey AuthMethod = "hw_ak_sk" // a pair of access key and secret key
)

// Known reports whether m is a documented value.
func (m AuthMethod) Known() bool { return m == MethodPassword || m == MethodAccessKey }

// AuthRequest is the body of POST /v3/auth/tokens of the identity service (IAM), which is a Keystone v3.
type AuthRequest struct {
	Auth Authentication `json:"auth" rule:"required"`
}

// Authentication says who asks for a token and for what. Without a scope the token is for the user's domain.
type Authentication struct {
	Identity Identity `json:"identity" rule:"required"`
	Scope    *Scope   `json:"scope,omitempty"`
}

// Identity is a proof. The field that the one method names is set.
type Identity struct {
	Methods   []AuthMethod       `json:"methods" rule:"required,max=1"`
	Password  *PasswordIdentity  `json:"password,omitempty"`
	AccessKey *AccessKeyIdentity `json:"hw_ak_sk,omitempty"`
}

// PasswordIdentity proves a user by password.
type PasswordIdentity struct {
	User PasswordUser `json:"user" rule:"required"`
}

// PasswordUser names a user by name and domain.
type PasswordUser struct {
	Name     string  `json:"name" rule:"required"`
	Password string  `json:"password" rule:"required"`
	Domain   *NameID `json:"domain,omitempty"`
}

// AccessKeyIdentity proves a user by a pair of keys.
type AccessKeyIdentity struct {
	Access KeyText `json:"access" rule:"required"`
	Secret KeyText `json:"secret" rule:"required"`
}

// KeyText is one half of a pair of keys.
type KeyText struct {
	Key string `json:"key" rule:"required"`
}

// Scope says what a token is for: global services such as SMS want a domain, regional ones such as DCS a project.
type Scope struct {
	Domain  *NameID `json:"domain,omitempty"`
	Project *NameID `json:"project,omitempty"`
}

// NameID refers to a domain, project, user or role. One of both is enough in a request.
type NameID struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// Fits reports whether n means the thing called name with this id. A nil n fits all.
func (n *NameID) Fits(id, name string) bool {
	return n == nil || (n.ID != "" || n.Name != "") && (n.ID == "" || n.ID == id) && (n.Name == "" || n.Name == name)
}

// AuthResponse is the answer of POST /v3/auth/tokens, whose status is 201; the token itself is in the header X-Subject-Token.
type AuthResponse struct {
	Token TokenInfo `json:"token"`
}

// TokenInfo says what a token is good for.
type TokenInfo struct {
	Methods   []AuthMethod `json:"methods"`
	IssuedAt  IAMTime      `json:"issued_at"`
	ExpiresAt IAMTime      `json:"expires_at"`
	User      TokenUser    `json:"user"`
	Domain    *NameID      `json:"domain,omitempty"`  // of a token for a domain
	Project   *NameID      `json:"project,omitempty"` // of a token for a project
	Roles     []NameID     `json:"roles"`
	Catalog   []NameID     `json:"catalog"` // always empty here
}

// TokenUser is the user of a token.
type TokenUser struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain NameID `json:"domain"`
}

// IAMTime is a time as the identity service writes it: UTC with microseconds, "2020-01-03T05:27:58.654000Z".
type IAMTime string

const iamLayout = "2006-01-02T15:04:05.000000Z"

// NewIAMTime returns t as text.
func NewIAMTime(t time.Time) IAMTime { return IAMTime(t.UTC().Format(iamLayout)) }

// Time returns the time that t says, with any number of decimals.
func (t IAMTime) Time() (time.Time, error) { return time.Parse(time.RFC3339Nano, string(t)) }

// DomainList is the answer of GET /v3/auth/domains: the domain of the caller.
type DomainList struct {
	Domains []Domain `json:"domains"`
}

// Domain is a tenant.
type Domain struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// ProjectList is the answer of GET /v3/projects.
type ProjectList struct {
	Projects []Project `json:"projects"`
}

// Project is a part of a domain, usually one region of it.
type Project struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	DomainID string `json:"domain_id"`
	IsDomain bool   `json:"is_domain"`
	Enabled  bool   `json:"enabled"`
}

// AccessKeyOf returns the access key that a signed request names, or "". It says nothing about the signature.
func AccessKeyOf(r *http.Request) string {
	access, _, _, _ := parseAuthorization(r.Header.Get("Authorization"))
	return access
}

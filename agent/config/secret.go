package config

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

// Where secrets are looked for when no file is named: variables as the vendor's SDKs have them, and systemd credentials
// (LoadCredential= in a unit), files in $CREDENTIALS_DIRECTORY.
const (
	envAccessKey     = "CLOUD_SDK_AK"
	envSecretKey     = "CLOUD_SDK_SK"
	envSecurityToken = "CLOUD_SDK_SECURITY_TOKEN"
	envToken         = "FERRY_TOKEN"
	envPassword      = "FERRY_PASSWORD"

	credentials        = "CREDENTIALS_DIRECTORY"
	credentialKey      = "ferry-key"
	credentialToken    = "ferry-token"
	credentialPassword = "ferry-password"
)

// maxSecret is the largest file with a secret, bytes: a token may have 16,384.
const maxSecret = 64 << 10

// keyFile is the JSON of a key file.
type keyFile struct {
	smsapi.Key
	SecurityToken string `json:"security_token"` // of a temporary key
}

// Options returns how to reach the service: address, proof, proxy and authorities. getenv is os.Getenv. Secrets are looked for in
// this order: the file that the configuration names, systemd credentials, the environment.
func (c *Config) Options(getenv func(string) string) (reporter.Options, error) {
	o := reporter.Options{Endpoint: c.Endpoint}
	var err error
	if o.Auth, err = c.auth(getenv); err != nil {
		return o, err
	}
	if c.Proxy != "" {
		if o.Proxy, err = url.Parse(c.Proxy); err != nil {
			return o, errors.New("the proxy's URL is not valid")
		}
	}
	if c.CAFile == "" {
		return o, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	o.CAs = x509.NewCertPool()
	if err != nil || !o.CAs.AppendCertsFromPEM(pem) {
		return o, fault.Operator("FERRY-CA-FILE", "give a readable PEM file with at least one certificate", fmt.Errorf("ca_file %s: no certificates (%w)", c.CAFile, err))
	}
	return o, nil
}

// auth finds the secrets.
func (c *Config) auth(getenv func(string) string) (reporter.Auth, error) {
	files := []struct {
		path string
		read func(text []byte) (reporter.Auth, error)
	}{
		{c.KeyFile, c.keyAuth}, {c.TokenFile, tokenAuth}, {c.PasswordFile, c.passwordAuth},
		{systemd(getenv, credentialKey), c.keyAuth}, {systemd(getenv, credentialToken), tokenAuth}, {systemd(getenv, credentialPassword), c.passwordAuth},
	}
	for i, f := range files {
		if f.path == "" {
			continue
		}
		named := i < 3
		text, err := readSecret(f.path, named)
		if errors.Is(err, os.ErrNotExist) && !named {
			continue
		}
		if err == nil {
			var auth reporter.Auth
			if auth, err = f.read(text); err == nil {
				return auth, nil
			}
		}
		return nil, fault.Operator("FERRY-CREDENTIALS", "see docs/AGENT.md for the files that hold secrets", fmt.Errorf("%s: %w", f.path, err))
	}
	switch {
	case getenv(envAccessKey) != "" && getenv(envSecretKey) != "":
		key := smsapi.Key{AccessKey: getenv(envAccessKey), SecretKey: getenv(envSecretKey), DomainID: c.DomainID}
		return &reporter.KeyAuth{Key: key, SecurityToken: getenv(envSecurityToken), IAM: c.IAM}, nil
	case getenv(envToken) != "":
		return tokenAuth([]byte(getenv(envToken)))
	case getenv(envPassword) != "":
		return c.passwordAuth([]byte(getenv(envPassword)))
	}
	return nil, fault.Operator("FERRY-CREDENTIALS", "name a file with credentials.key_file, or set CLOUD_SDK_AK and CLOUD_SDK_SK",
		errors.New("no credentials for the service"))
}

// Objects returns where backup files of Redis are, nil if nobody said. Errors: FERRY-CREDENTIALS.
func (c *Config) Objects() (*redis.ObjectStore, error) {
	if c.ObjectsEndpoint == "" {
		return nil, nil
	}
	store := &redis.ObjectStore{Endpoint: c.ObjectsEndpoint, Region: c.ObjectsRegion}
	if c.ObjectsKeyFile == "" {
		return store, nil
	}
	text, err := readSecret(c.ObjectsKeyFile, true)
	var k keyFile
	if err == nil {
		k, err = parseKey(text)
	}
	if err != nil {
		return nil, fault.Operator("FERRY-CREDENTIALS", "see docs/AGENT.md for the files that hold secrets", fmt.Errorf("%s: %w", c.ObjectsKeyFile, err))
	}
	store.AccessKey, store.SecretKey = k.AccessKey, k.SecretKey
	return store, nil
}

func parseKey(text []byte) (k keyFile, err error) {
	if json.Unmarshal(text, &k) != nil || k.AccessKey == "" || k.SecretKey == "" {
		return k, errors.New(`it is not {"access_key":…,"secret_key":…}`) // without quoting it
	}
	return k, nil
}

func (c *Config) keyAuth(text []byte) (reporter.Auth, error) {
	k, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	if c.DomainID != "" {
		k.DomainID = c.DomainID
	}
	return &reporter.KeyAuth{Key: k.Key, SecurityToken: k.SecurityToken, IAM: c.IAM}, nil
}

func tokenAuth(text []byte) (reporter.Auth, error) {
	token := strings.TrimSpace(string(text))
	if smsapi.CheckToken(token) != nil || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("it is not a token")
	}
	return reporter.TokenAuth(token), nil
}

func (c *Config) passwordAuth(text []byte) (reporter.Auth, error) {
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || c.User == "" || c.Domain == "" {
		return nil, errors.New("a password needs credentials.user and credentials.domain")
	}
	return &reporter.PasswordAuth{IAM: c.IAM, Domain: c.Domain, User: c.User, Password: password}, nil
}

func systemd(getenv func(string) string, name string) string {
	if dir := getenv(credentials); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	return ""
}

// readSecret reads a file with a secret. One that is the operator's own must be for its owner only; systemd sees to its own.
func readSecret(path string, own bool) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxSecret:
		return nil, errors.New("it is not a file of at most 64 KiB")
	case own && exposed(info):
		return nil, fmt.Errorf("others may read it (mode %#o): chmod 0600 %s", info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if own {
		text, err = unprotect(path, text)
	}
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), err
}

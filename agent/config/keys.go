package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// A key is one line of the table of settings.
type key struct {
	name   string // dots separate groups
	preset string
	help   string
	set    func(c *Config, value string) error
}

// variable is the key's name in the environment.
func (k key) variable() string {
	return "FERRY_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// keys is the whole configuration. docs/AGENT.md shows it; a test keeps the two the same.
var keys = []key{
	{"endpoint", "", "URL of the service: https://HOST, or that of a `ferry controller`", func(c *Config, v string) error {
		c.Endpoint = strings.TrimSuffix(v, "/")
		c.IAM = reporter.IAMOf(c.Endpoint)
		return checkURL(v)
	}},
	{"region", "", "region of the vendor's service, instead of endpoint", func(c *Config, v string) error {
		if strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return errors.New("give a region such as cn-north-4")
		}
		if c.Endpoint == "" {
			c.Endpoint = reporter.RegionEndpoint(v)
			c.IAM = reporter.IAMOf(c.Endpoint)
		}
		return nil
	}},
	{"iam", "", "URL of the identity service, if it is not where the service's own is", func(c *Config, v string) error {
		c.IAM = strings.TrimSuffix(v, "/")
		return checkURL(v)
	}},
	{"proxy", "", "URL of an HTTP proxy for the service; data never goes through it", func(c *Config, v string) error {
		c.Proxy = v
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
			return errors.New("give http://HOST:PORT, https:// or socks5://") // it may hold a password
		}
		return nil
	}},
	{"ca_file", "", "PEM file of the authorities to trust for the service, instead of the system's", path(func(c *Config) *string { return &c.CAFile })},
	{"credentials.key_file", "", "file with an access key: JSON as `ferry controller` writes it", path(func(c *Config) *string { return &c.KeyFile })},
	{"credentials.token_file", "", "file with a token", path(func(c *Config) *string { return &c.TokenFile })},
	{"credentials.password_file", "", "file with the password of credentials.user", path(func(c *Config) *string { return &c.PasswordFile })},
	{"credentials.user", "", "user of the identity service", text(func(c *Config) *string { return &c.User })},
	{"credentials.domain", "", "domain (account) of that user", text(func(c *Config) *string { return &c.Domain })},
	{"credentials.domain_id", "", "id of the access key's domain; found out when not given", text(func(c *Config) *string { return &c.DomainID })},
	{"state", defaultState, "state directory", path(func(c *Config) *string { return &c.State })},
	{"logs", "", "directory of log files (default: logs in the state directory)", path(func(c *Config) *string { return &c.Logs })},
	{"log_level", "info", "debug, info, warn or error", oneOf(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
	{"name", "", "name to show for this server (default: its host name)", text(func(c *Config) *string { return &c.Name })},
	{"poll", "10s", "how often to ask for a command, 1s to 5m; varied by half", func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Second || d > 5*time.Minute {
			return errors.New("give 1s to 5m")
		}
		c.Poll = d
		return nil
	}},
	{"accept_privacy_statement", "false", "true: the service's privacy statement is accepted", func(c *Config, v string) (err error) {
		c.Privacy, err = strconv.ParseBool(v)
		if err != nil {
			err = errors.New("give true or false")
		}
		return err
	}},
	{"target_port", "8900", "port of a target whose task names none", func(c *Config, v string) (err error) {
		c.TargetPort, err = number(v, 1, 65535)
		return err
	}},
	{"verify", "full", "what to read back and compare: none, quick or full", oneOf(func(c *Config) *string { return &c.Verify }, "none", "quick", "full")},
	{"redis", "false", "true: run the migrations of Redis (tasks of the DCS API) that a `ferry controller` gives; its user needs the role machine", func(c *Config, v string) (err error) {
		if c.Redis, err = strconv.ParseBool(v); err != nil {
			err = errors.New("give true or false")
		}
		return err
	}},
	{"objects.endpoint", "", "URL of the S3-compatible store of their backup files", func(c *Config, v string) error {
		c.ObjectsEndpoint = strings.TrimSuffix(v, "/")
		return checkURL(v)
	}},
	{"objects.region", "", "its region (default: us-east-1)", text(func(c *Config) *string { return &c.ObjectsRegion })},
	{"objects.key_file", "", "file with its access key, JSON as credentials.key_file; none for objects that anyone may read", path(func(c *Config) *string { return &c.ObjectsKeyFile })},
	{"limits.cpu", "0", "percent of all processors, 1 to 100, rounded up to whole ones; 0 for no limit", func(c *Config, v string) (err error) {
		c.CPU, err = number(v, 0, 100)
		return err
	}},
	{"limits.memory", "0", "memory to stay within, about, such as 512MiB; 0 for no limit", memory(func(c *Config) *int64 { return &c.Memory })},
	{"limits.rate", "", "rate on the wire for tasks that have no limit of their own: 200Mbit, 25MiB, or windows as in `ferry migrate --limit`", func(c *Config, v string) (err error) {
		c.Rate, err = ratelimit.ParseLimit(v)
		c.RateSet = err == nil
		return err
	}},
	{"service.cpu_weight", "0", "CPUWeight of the service under systemd, 1 to 10000 beside 100 of others; 0 for its default. `ferry agent install` writes these three down", func(c *Config, v string) (err error) {
		c.CPUWeight, err = number(v, 0, 10000)
		return err
	}},
	{"service.io_weight", "0", "IOWeight, the same for disks", func(c *Config, v string) (err error) {
		c.IOWeight, err = number(v, 0, 10000)
		return err
	}},
	{"service.memory_max", "0", "MemoryMax: what the service may have at most, beyond which the kernel ends it; well above limits.memory", memory(func(c *Config) *int64 { return &c.MemoryMax })},
}

func isKey(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return k.name == name })
}

// isGroup reports whether keys lie below name.
func isGroup(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		if len(v) > 255 {
			return errors.New("at most 255 bytes")
		}
		return nil
	}
}

func path(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		if !filepath.IsAbs(v) {
			return errors.New("give an absolute path")
		}
		return nil
	}
}

func oneOf(field func(*Config) *string, values ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		if !slices.Contains(values, v) {
			return fmt.Errorf("give %s", strings.Join(values, ", "))
		}
		return nil
	}
}

func memory(field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, v string) (err error) {
		*field(c), err = ratelimit.ParseRate(v)
		if err != nil || strings.HasSuffix(strings.ToLower(v), "bit") || *field(c) != 0 && *field(c) < 64<<20 {
			return errors.New("give at least 64MiB, such as 512MiB or 2GiB")
		}
		return nil
	}
}

func number(v string, from, to int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < from || n > to {
		return 0, fmt.Errorf("give %d to %d", from, to)
	}
	return n, nil
}

// checkURL refuses what is no URL of a service. A password in it would end up in logs.
func checkURL(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("give https://HOST[:PORT], without a password")
	}
	return nil
}

// Table returns the keys as a table in Markdown, for the documentation.
func Table() string {
	var b strings.Builder
	b.WriteString("| key | environment | default | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		preset := k.preset
		if k.name == "state" {
			preset = "/var/lib/ferry"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", k.name, k.variable(), preset, k.help)
	}
	return b.String()
}

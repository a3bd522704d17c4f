// Package config reads the configuration of the agent: a YAML file, the environment above it and flags above both.
//
// Every setting is one line of one table (keys.go), with one parser, whichever of the three it comes from: `limits.cpu` in the file
// is FERRY_LIMITS_CPU in the environment. A key that is not in the table is refused with its line, and all problems are told at
// once, so that nobody has to start an agent five times. Later origins win; an empty value means the default.
//
// Secrets have no key of their own. They come from files that only their owner can read (mode 0600; on Windows protected by DPAPI),
// from systemd credentials or from the environment, and are in no error, log or printed Config.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"go.yaml.in/yaml/v3"
)

// maxFile is the largest configuration file, bytes.
const maxFile = 1 << 20

// Config is how an agent runs.
type Config struct {
	Endpoint string // URL of the service; given, or that of Region
	IAM      string // URL of its identity service
	Proxy    string // for the service only, never for data
	CAFile   string // PEM; whom to trust for the service, beside nobody else

	KeyFile, TokenFile, PasswordFile string // at most one of them
	User, Domain                     string // of the password
	DomainID                         string // of the access key

	State, Logs string        // directories
	Name        string        // shown for the source; empty means the host's
	Poll        time.Duration // between two questions for a command, plus or minus half of it
	Privacy     bool          // the privacy statement is accepted
	LogLevel    string        // debug, info, warn or error
	TargetPort  int           // of a task that names none

	CPU     int   // percent of all processors, 0 for no limit
	Memory  int64 // bytes, 0 for no limit
	Rate    ratelimit.Schedule
	RateSet bool
	Verify  string // none, quick or full

	Redis                                          bool   // run migrations of Redis too
	ObjectsEndpoint, ObjectsRegion, ObjectsKeyFile string // where their backup files in buckets are

	CPUWeight, IOWeight int   // of the service under systemd, 1 to 10000; 0 for its default
	MemoryMax           int64 // bytes that systemd lets the service have; 0 for no limit
}

// A setting is one value on its way into a Config.
type setting struct {
	key, value string
	origin     string // for messages: agent.yaml line 3, FERRY_POLL, --poll
}

// Load reads the file at path, if any, and puts the environment and then flags, by key, above it. The error, FERRY-CONFIG, tells
// every problem on a line of its own.
func Load(path string, environ []string, flags map[string]string) (*Config, error) {
	var all []setting
	var problems []string
	if path != "" {
		settings, wrong, err := readFile(path)
		if err != nil {
			return nil, fault.Operator("FERRY-CONFIG", "name a readable file with --config", err)
		}
		all, problems = settings, wrong
	}
	all = append(all, fromEnvironment(environ)...)
	for key, value := range flags {
		all = append(all, setting{key, value, "--" + key})
	}
	c := &Config{}
	given := map[string]setting{}
	for _, s := range all {
		given[s.key] = s
	}
	for _, k := range keys {
		s := given[k.name]
		if s.value == "" {
			s.value = k.preset
		}
		if s.value == "" {
			continue
		}
		if err := k.set(c, s.value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s: %v", s.origin, k.name, err))
		}
	}
	problems = append(problems, c.complete(given)...)
	if len(problems) > 0 {
		return nil, fault.Operator("FERRY-CONFIG", "see docs/AGENT.md for every key",
			errors.New("the configuration has problems:\n  "+strings.Join(problems, "\n  ")))
	}
	return c, nil
}

// complete fills what follows from other keys, and says what does not go together.
func (c *Config) complete(given map[string]setting) (problems []string) {
	if c.Endpoint == "" {
		problems = append(problems, "say where the service is: endpoint, or region")
	}
	if given["endpoint"].value != "" && given["region"].value != "" {
		problems = append(problems, fmt.Sprintf("%s: region: endpoint is given too; one of them", given["region"].origin))
	}
	files := 0
	for _, f := range []string{c.KeyFile, c.TokenFile, c.PasswordFile} {
		if f != "" {
			files++
		}
	}
	if files > 1 {
		problems = append(problems, "credentials: give one of key_file, token_file and password_file")
	}
	if c.Logs == "" {
		c.Logs = filepath.Join(c.State, "logs")
	}
	return problems
}

// readFile returns the settings of a YAML file, and what is wrong with it.
func readFile(path string) (settings []setting, problems []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(text) > maxFile {
		return nil, nil, fmt.Errorf("configuration file %s is larger than 1 MiB", path)
	}
	settings, problems = parse(filepath.Base(path), text)
	return settings, problems, nil
}

// parse reads YAML. file is its name in messages.
func parse(file string, text []byte) (settings []setting, problems []string) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, []string{fmt.Sprintf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	w := &walk{file: file}
	w.mapping("", document.Content[0])
	return w.settings, w.problems
}

// A walk turns a YAML tree into settings.
type walk struct {
	file     string
	settings []setting
	problems []string
}

func (w *walk) problem(n *yaml.Node, format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf("%s line %d: ", w.file, n.Line)+fmt.Sprintf(format, args...))
}

// mapping reads the keys below prefix.
func (w *walk) mapping(prefix string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		w.problem(n, "%s is not a mapping of keys", strings.TrimSuffix("the file."+prefix, "."))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := prefix + key.Value
		switch {
		case seen[name]:
			w.problem(key, "%s is given twice", name)
		case isGroup(name) && value.Kind == yaml.ScalarNode && value.Tag == "!!null": // a group with nothing in it
		case isGroup(name):
			w.mapping(name+".", value)
		case !isKey(name):
			w.problem(key, "unknown key %s%s", name, secretHint(key.Value))
		case value.Kind != yaml.ScalarNode:
			w.problem(value, "%s takes one value", name)
		case value.Tag == "!!null":
		default:
			w.settings = append(w.settings, setting{name, value.Value, fmt.Sprintf("%s line %d", w.file, value.Line)})
		}
		seen[name] = true
	}
}

// secretHint tells those who look for a place for a secret where it is.
func secretHint(key string) string {
	switch key {
	case "access_key", "secret_key", "ak", "sk", "password", "token":
		return ": secrets are not kept here; see credentials.key_file, credentials.token_file and credentials.password_file"
	}
	return ""
}

// fromEnvironment returns the settings in an environment.
func fromEnvironment(environ []string) (settings []setting) {
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		for _, k := range keys {
			if name == k.variable() {
				settings = append(settings, setting{k.name, value, name})
			}
		}
	}
	return settings
}

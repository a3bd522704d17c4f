package smsapi

import (
	"net/netip"
	"strconv"
	"strings"
)

// A ConfigKey names an advanced option of a task.
type ConfigKey string

// The advanced options. A limit is a whole number, a list of paths is separated by commas, at most 30 absolute ones.
const (
	ConfigMigrateExclude     ConfigKey = "MIGRATE_EXCLUDE_DIR"     // paths that no pass copies first
	ConfigSyncExclude        ConfigKey = "SYNC_EXCLUDE_DIR"        // paths that no sync looks at
	ConfigSyncOnly           ConfigKey = "ONLY_SYNC_DIR"           // the only paths that a sync looks at
	ConfigConsistency        ConfigKey = "CONSISTENCY_DIR"         // paths to verify
	ConfigConsistencyIllegal ConfigKey = "CONSISTENCY_DIR_ILLEGAL" // paths that could not be verified; the agent says it
	ConfigCompressThreads    ConfigKey = "LINUX_BLOCK_COMPRESS_THREAD_NUM"
	ConfigCacheSize          ConfigKey = "LINUX_BLOCK_CACHE_SIZE" // MB
	ConfigCPULimit           ConfigKey = "LINUX_CPU_LIMIT"        // percent of all processors
	ConfigMemoryLimit        ConfigKey = "LINUX_MEM_LIMIT"        // MB
	ConfigIOLimit            ConfigKey = "LINUX_IO_LIMIT"         // MB/s
	ConfigTargetIP           ConfigKey = "MIGRATE_DST_IP"         // reach the target here instead
	ConfigMigrateProcesses   ConfigKey = "NUM_PROCESS_MIGRATE"
	ConfigSyncProcesses      ConfigKey = "NUM_PROCESS_SYNC"
	ConfigRecheck            ConfigKey = "CONSISTENCY_RECHECK" // verify only what differed
	ConfigConsistencyMode    ConfigKey = "CONSISTENCY_MODE"    // no values are documented
	ConfigPort               ConfigKey = "DYNAMIC_PORT"
	ConfigPasswordAgent      ConfigKey = "INSTALL_PWD_AGENT"
)

// olderKeys are the spellings of another page of the documents.
var olderKeys = map[ConfigKey]ConfigKey{
	"EXCLUDE_MIGRATE_PATH": ConfigMigrateExclude,
	"SYNC_EXCLUDE_PATH":    ConfigSyncExclude,
	"ONLY_SYNC_PATH":       ConfigSyncOnly,
}

// Canonical returns the newer of a key's two spellings.
func (k ConfigKey) Canonical() ConfigKey {
	if newer, ok := olderKeys[k]; ok {
		return newer
	}
	return k
}

// maxPaths is how many paths one option lists.
const maxPaths = 30

// values says of each option which values it takes. An empty value, which takes the option back, is not asked about.
var values = map[ConfigKey]func(string) bool{
	ConfigMigrateExclude:     paths,
	ConfigSyncExclude:        paths,
	ConfigSyncOnly:           paths,
	ConfigConsistency:        paths,
	ConfigConsistencyIllegal: paths,
	ConfigCompressThreads:    func(s string) bool { return s == "auto" || whole(0, 3)(s) },
	ConfigCacheSize:          whole(1, 8),
	ConfigCPULimit:           whole(1, 100),
	ConfigMemoryLimit:        whole(200, 1000),
	ConfigIOLimit:            whole(10, 1000),
	ConfigTargetIP:           func(s string) bool { _, err := netip.ParseAddr(s); return err == nil },
	ConfigMigrateProcesses:   whole(1, 4),
	ConfigSyncProcesses:      whole(1, 4),
	ConfigRecheck:            truth,
	ConfigConsistencyMode:    func(string) bool { return true },
	ConfigPort:               whole(1, 65535),
	ConfigPasswordAgent:      truth,
}

// Known reports whether k is an option, in either spelling.
func (k ConfigKey) Known() bool { return values[k.Canonical()] != nil }

// Check returns an *Error unless the option takes the value.
func (c Config) Check() error {
	key := ConfigKey(c.Key).Canonical()
	if !key.Known() {
		return invalid("config_key: %q is not a documented value", trim(c.Key, 40))
	}
	if c.Value != "" && !values[key](c.Value) {
		return invalid("config_value: %s does not take %q", c.Key, trim(c.Value, 40))
	}
	return nil
}

func whole(least, most int) func(string) bool {
	return func(s string) bool {
		n, err := strconv.Atoi(s)
		return err == nil && n >= least && n <= most
	}
}

func truth(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

// paths reports whether s lists absolute paths of Linux or Windows.
func paths(s string) bool {
	list := SplitPaths(s)
	for _, p := range list {
		if windows := len(p) > 2 && p[1] == ':' && (p[2] == '\\' || p[2] == '/'); p == "" || p[0] != '/' && !windows {
			return false
		}
	}
	return len(list) <= maxPaths
}

// SplitPaths returns the paths of a config_value.
func SplitPaths(value string) (list []string) {
	for p := range strings.SplitSeq(value, ",") {
		list = append(list, strings.TrimSpace(p))
	}
	return list
}

// Configurations is the body of POST /v3/tasks/{task_id}/configuration-setting.
type Configurations struct {
	Configurations []Config `json:"configurations" rule:"required,max=50"`
}

func (c *Configurations) check() error {
	for _, one := range c.Configurations {
		if err := one.Check(); err != nil {
			return err
		}
	}
	return nil
}

// MigrateType spells how a task moves its data as the answer of GET …/configuration-setting does: LINUX_MIGRATE_FILE.
func MigrateType(os OSType, how TaskType) string { return string(os) + "_" + string(how) }

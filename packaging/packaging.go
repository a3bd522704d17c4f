// Package packaging holds what a package and the program it installs have in common, so that there is one text of each: the
// service's unit, its OpenRC script and its first configuration; and how a release is signed, so that the program can check one.
//
// The packages themselves are made by `make packages` (build, pack, msi beside this file); docs/INSTALL.md tells what is in them.
package packaging

import (
	_ "embed"
	"strings"
)

// Where a package puts the program and its configuration on Linux, as the texts below have it.
const (
	program = "/usr/bin/ferry"
	config  = "/etc/ferry/agent.yaml"
)

//go:embed systemd/ferry.service
var systemdUnit string

//go:embed openrc/ferry.init
var openrcScript string

// AgentConfig is the configuration that a new installation begins with: every line is a comment.
//
//go:embed agent.yaml
var AgentConfig []byte

// SystemdUnit returns the unit of the service that runs the program at one path with the configuration at another.
func SystemdUnit(programPath, configPath string) string {
	return strings.NewReplacer(program, systemdWord(programPath), config, systemdWord(configPath)).Replace(systemdUnit)
}

// OpenRCScript does the same for OpenRC.
func OpenRCScript(programPath, configPath string) string {
	return strings.NewReplacer(`"`+program+`"`, shellWord(programPath), `"`+config+`"`, shellWord(configPath)).Replace(openrcScript)
}

// systemdWord writes a path as one word of a command line of systemd: quoted where needed, without specifiers and variables
// (systemd.service(5), "Command lines").
func systemdWord(path string) string {
	path = strings.NewReplacer(`%`, `%%`, `$`, `$$`).Replace(path)
	if !strings.ContainsAny(path, " \t'\"\\;") {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// shellWord writes a path as one double-quoted word of a shell.
func shellWord(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(path) + `"`
}

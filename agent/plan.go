package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// A Route is what the order of a task's subtasks depends on.
type Route struct {
	Type       smsapi.TaskType
	OS         smsapi.OSType
	NewServer  bool // the target is a cloud server that does not exist yet
	Receiver   bool // the target is a running `ferry target`: there is no server to prepare or to make bootable
	Whole      bool // the root filesystem is among what moves: a Receiver may have disks to lay out first, and a system to make start
	Again      bool // the task was finished; bring its target in step once more
	Continuous bool // keep syncing after the first copy, until cutover
	Clone      bool // only clone the target for a test
}

// names are the subtasks of one way to copy.
type names struct{ format, migrate, sync, configure smsapi.SubtaskName }

func (r Route) names() names {
	switch {
	case r.OS == smsapi.Windows:
		return names{smsapi.FormatDiskWindows, smsapi.MigrateWindowsBlock, smsapi.SyncWindowsBlock, smsapi.ConfigureWindows}
	case r.Type == smsapi.MigrateBlock:
		return names{smsapi.FormatDiskLinuxBlock, smsapi.MigrateLinuxBlock, smsapi.SyncLinuxBlock, smsapi.ConfigureLinuxBlock}
	default:
		return names{smsapi.FormatDiskLinuxFile, smsapi.MigrateLinuxFile, smsapi.SyncLinuxFile, smsapi.ConfigureLinuxFile}
	}
}

// Sequence returns the subtasks of a route, in order. The service documents the first replication on Windows; the others are known
// from its console and by analogy. With Continuous the sync goes on until cutover, and its last pass is part of it.
func (r Route) Sequence() []smsapi.SubtaskName {
	n := r.names()
	var prepare, data, launch []smsapi.SubtaskName
	data = []smsapi.SubtaskName{n.migrate}
	switch {
	case r.Clone:
		return []smsapi.SubtaskName{smsapi.CloneVM}
	case r.Again:
		data = []smsapi.SubtaskName{n.sync}
	case r.Continuous:
		data = []smsapi.SubtaskName{n.migrate, n.sync}
	}
	if r.Receiver {
		prepare = []smsapi.SubtaskName{smsapi.SSLConfig}
		if r.Whole && !r.Again {
			prepare = append(prepare, n.format)
		}
		if r.Whole {
			launch = []smsapi.SubtaskName{n.configure}
		}
		return slices.Concat(prepare, data, launch)
	}
	if !r.Again {
		prepare = []smsapi.SubtaskName{smsapi.SSLConfig, smsapi.AttachAgentImage, n.format}
		if r.NewServer {
			prepare = slices.Insert(prepare, 0, smsapi.CreateCloudServer)
		}
	} else {
		prepare = []smsapi.SubtaskName{smsapi.AttachAgentImage}
	}
	launch = []smsapi.SubtaskName{n.configure, smsapi.DetachAgentImage}
	return slices.Concat(prepare, data, launch)
}

// older are the names that older services give two subtasks.
var older = map[smsapi.SubtaskName]smsapi.SubtaskName{
	smsapi.FormatDiskLinuxFile: smsapi.FormatDiskLinux, smsapi.FormatDiskLinuxBlock: smsapi.FormatDiskLinux,
	smsapi.ConfigureLinuxFile: smsapi.ConfigureLinux, smsapi.ConfigureLinuxBlock: smsapi.ConfigureLinux,
}

// renamed is a subtask under the name that an older service gives it.
type renamed struct {
	Subtask
	name string
}

// Name returns the older name.
func (r renamed) Name() string { return r.name }

// spelled returns a sequence in the words of a service that already lists the task's subtasks.
func spelled(sequence []smsapi.SubtaskName, shown []smsapi.Subtask) []smsapi.SubtaskName {
	lists := func(name smsapi.SubtaskName) bool {
		return slices.ContainsFunc(shown, func(s smsapi.Subtask) bool { return s.Name == name })
	}
	out := slices.Clone(sequence)
	for i, name := range out {
		if old, ok := older[name]; ok && lists(old) && !lists(name) {
			out[i] = old
		}
	}
	return out
}

// SequenceTable returns the sequences of all kinds of tasks as a table in Markdown. docs/AGENT.md shows it; a test keeps the two the same.
func SequenceTable() string {
	var b strings.Builder
	b.WriteString("| task | subtasks |\n|---|---|\n")
	for _, way := range []struct {
		name string
		Route
	}{
		{"files", Route{Type: smsapi.MigrateFile, OS: smsapi.Linux}},
		{"Linux, blocks", Route{Type: smsapi.MigrateBlock, OS: smsapi.Linux}},
		{"Windows, blocks", Route{Type: smsapi.MigrateBlock, OS: smsapi.Windows}},
	} {
		for _, kind := range []struct {
			name   string
			change func(*Route)
		}{
			{"first copy and launch, a new cloud server", func(r *Route) { r.NewServer = true }},
			{"the same, a server that exists", func(*Route) {}},
			{"the same, synced until cutover", func(r *Route) { r.Continuous = true }},
			{"sync after the end", func(r *Route) { r.Again = true }},
			{"to a running `ferry target`", func(r *Route) { r.Receiver = true }},
			{"the same, synced until cutover", func(r *Route) { r.Receiver, r.Continuous = true, true }},
			{"the same, sync after the end", func(r *Route) { r.Receiver, r.Again = true, true }},
			{"test clone", func(r *Route) { r.Clone = true }},
		} {
			route := way.Route
			kind.change(&route)
			var words []string
			for _, name := range route.Sequence() {
				words = append(words, string(name))
			}
			fmt.Fprintf(&b, "| %s: %s | %s |\n", way.name, kind.name, strings.Join(words, " → "))
		}
	}
	return b.String()
}

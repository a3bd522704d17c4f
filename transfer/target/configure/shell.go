package configure

import (
	"regexp"
	"strings"
)

// Files of assignments, NAME=value as a shell reads them: os-release, /etc/default/grub, ifcfg-*. Ferry reads and changes single lines of
// them; everything else, comments too, stays as it is.

// shellValue returns the value of the last assignment of a name, without its quotes.
func shellValue(text, name string) (string, bool) {
	value, found := "", false
	for line := range strings.SplitSeq(text, "\n") {
		if v, ok := assigned(line, name); ok {
			value, found = v, true
		}
	}
	return value, found
}

// assigned returns the value that a line gives to a name. A comment behind the value is not part of it.
func assigned(line, name string) (string, bool) {
	v, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), name+"=")
	if !ok {
		return "", false
	}
	if v != "" && (v[0] == '"' || v[0] == '\'') {
		if end := strings.IndexByte(v[1:], v[0]); end >= 0 {
			return v[1 : 1+end], true
		}
		return v[1:], true
	}
	v, _, _ = strings.Cut(v, " #")
	return strings.TrimSpace(v), true
}

var plain = regexp.MustCompile(`^[\w./:,+@=-]*$`)

// setShell has the last assignment of a name give the value; without one a line is added.
func setShell(text, name, value string) string {
	if old, ok := shellValue(text, name); ok && old == value {
		return text
	}
	line := name + "=" + quoted(value)
	all := strings.Split(text, "\n")
	for i := len(all) - 1; i >= 0; i-- {
		if _, ok := assigned(all[i], name); ok {
			all[i] = line
			return strings.Join(all, "\n")
		}
	}
	return appendLine(text, line)
}

// quoted is a value as a shell takes it literally.
func quoted(value string) string {
	switch {
	case plain.MatchString(value):
		return value
	case strings.ContainsAny(value, "\"`"):
		return "'" + strings.ReplaceAll(value, "'", "") + "'"
	default:
		return `"` + value + `"` // $ is meant in what comes from such a file
	}
}

// appendLine adds a line to a text whose last line may lack its end.
func appendLine(text, line string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n"
}

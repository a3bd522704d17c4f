package support

import (
	"bytes"
	"regexp"
	"slices"
)

// blot stands where a secret was.
const blot = "[redacted]"

// A rule blots out what its pattern matches, but for its groups. Only lines with one of the hints, in lower case, are looked at:
// patterns are slow and logs are long.
type rule struct {
	hints   []string
	pattern *regexp.Regexp
}

// rules name what is secret wherever it stands. They may take too much, never too little.
var rules = []rule{
	{[]string{"://"}, regexp.MustCompile(`(://[^/\s:@"']*:)[^@/\s"']+(@)`)},
	{[]string{"ferry1-"}, regexp.MustCompile(`((?i:FERRY1-))[A-Za-z0-9+/=_-]+`)},
	{[]string{"authorization", "-token"}, regexp.MustCompile(`((?i:authorization|x-auth-token|x-subject-token|x-security-token)["']?\s*[:=]\s*["']?)[^"'\n]+`)},
	{[]string{"pass", "secret", "token", "key", "credential"},
		regexp.MustCompile(`((?i:password|passwd|passphrase|secret|token|private_?key|secret_?key|access_?key|cert_?key|credential)s?["']?\s*[:=]\s*["']?)[^\s"',}]+`)},
	{[]string{"--"}, regexp.MustCompile(`((?i:--(?:pair|password|token|secret)[ =]))\S+`)},
	{[]string{"sign", "credential", "accesskeyid", "token"},
		regexp.MustCompile(`((?i:[?&](?:x-amz-signature|signature|x-amz-credential|accesskeyid|x-amz-security-token|token)=))[^&\s"']+`)},
	{[]string{"ak", "sk"}, regexp.MustCompile(`((?i:\b(?:ak|sk)["']?\s*[:=]\s*["']?))[A-Za-z0-9/+=]{8,}`)},
}

var (
	keyBegins = []byte("-----BEGIN ")
	keyEnds   = []byte("-----END ")
)

// A redactor blots secrets out of text that comes line by line.
type redactor struct {
	inKey bool // between the first and the last line of a PEM block
	count int  // secrets found
}

// line returns the line without its secrets. The result may share memory with it.
func (r *redactor) line(text []byte) []byte {
	if begins := bytes.Contains(text, keyBegins); begins || r.inKey {
		r.inKey = !bytes.Contains(text, keyEnds)
		if !begins {
			return nil
		}
		r.count++
		return []byte(blot + ": a PEM block")
	}
	lower := bytes.ToLower(text)
	for _, rule := range rules {
		if !slices.ContainsFunc(rule.hints, func(hint string) bool { return bytes.Contains(lower, []byte(hint)) }) {
			continue
		}
		if found := len(rule.pattern.FindAllIndex(text, -1)); found > 0 {
			r.count += found
			text = rule.pattern.ReplaceAll(text, []byte("${1}"+blot+"${2}"))
		}
	}
	return text
}

// Redact returns text without its secrets, and how many there were.
func Redact(text []byte) ([]byte, int) {
	var r redactor
	var out []byte
	for line := range bytes.Lines(text) {
		out = append(out, r.line(bytes.TrimSuffix(line, []byte("\n")))...)
		out = append(out, '\n')
	}
	return out, r.count
}

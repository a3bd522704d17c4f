package probe

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Bounds on the text: lvm2 nests five levels deep and a group of a thousand volumes has some hundred thousand values.
const (
	maxDepth  = 16
	maxValues = 4 << 20
)

// section is a node of LVM's metadata text: names to values, in the order written. A value is an int64, a string, a []any or
// a *section.
type section struct {
	keys   []string
	values map[string]any
}

func (s *section) sub(key string) *section {
	if s == nil {
		return nil
	}
	v, _ := s.values[key].(*section)
	return v
}

func (s *section) str(key string) string {
	v, _ := s.values[key].(string)
	return v
}

// num returns a number that is not negative; anything else is 0.
func (s *section) num(key string) int64 {
	v, _ := s.values[key].(int64)
	return max(v, 0)
}

func (s *section) list(key string) []any {
	switch v := s.values[key].(type) {
	case []any:
		return v
	case nil:
		return nil
	default:
		return []any{v}
	}
}

func (s *section) strs(key string) []string {
	out := []string{}
	for _, v := range s.list(key) {
		if t, ok := v.(string); ok {
			out = append(out, t)
		}
	}
	return out
}

// each calls f for every subsection, in order.
func (s *section) each(f func(name string, sub *section)) {
	if s == nil {
		return
	}
	for _, k := range s.keys {
		if sub := s.sub(k); sub != nil {
			f(k, sub)
		}
	}
}

var errText = errors.New("LVM metadata text is malformed")

// parseText reads metadata text (lvm2 libdm/libdm-config.c): name = value, name { … }, lists in brackets, # to end of line.
func parseText(b []byte) (*section, error) {
	p := &textParser{b: b, left: maxValues}
	s := p.section(0)
	if p.err != nil {
		return nil, fmt.Errorf("%w at byte %d", p.err, len(b)-len(p.b))
	}
	return s, nil
}

type textParser struct {
	b    []byte
	left int // values that may still be read
	err  error
}

func (p *textParser) fail() { p.err, p.b = errText, nil }

// skip drops blanks and comments.
func (p *textParser) skip() {
	for len(p.b) > 0 {
		switch p.b[0] {
		case ' ', '\t', '\n', '\r', 0:
			p.b = p.b[1:]
		case '#':
			if i := bytes.IndexByte(p.b, '\n'); i >= 0 {
				p.b = p.b[i:]
			} else {
				p.b = nil
			}
		default:
			return
		}
	}
}

func (p *textParser) accept(c byte) bool {
	p.skip()
	if len(p.b) > 0 && p.b[0] == c {
		p.b = p.b[1:]
		return true
	}
	return false
}

func (p *textParser) section(depth int) *section {
	s := &section{values: map[string]any{}}
	for {
		p.skip()
		if len(p.b) == 0 {
			if depth > 0 {
				p.fail()
			}
			return s
		}
		if depth > 0 && p.accept('}') {
			return s
		}
		name := p.name()
		if p.left--; p.left < 0 || depth >= maxDepth || name == "" {
			p.fail()
			return s
		}
		var v any
		switch {
		case p.accept('{'):
			v = p.section(depth + 1)
		case p.accept('='):
			v = p.value()
		default:
			p.fail()
		}
		if p.err != nil {
			return s
		}
		if _, twice := s.values[name]; !twice {
			s.keys = append(s.keys, name)
		}
		s.values[name] = v
	}
}

// name is a run of anything but blanks and the characters with a meaning.
func (p *textParser) name() string {
	n := 0
	for n < len(p.b) && !bytes.ContainsRune([]byte(" \t\r\n={}[]#\",\x00"), rune(p.b[n])) {
		n++
	}
	s := string(p.b[:n])
	p.b = p.b[n:]
	return s
}

func (p *textParser) value() any {
	if !p.accept('[') {
		return p.scalar()
	}
	list := []any{}
	for !p.accept(']') {
		if p.left--; p.left < 0 || p.err != nil || len(p.b) == 0 {
			p.fail()
			return nil
		}
		list = append(list, p.scalar())
		p.accept(',')
	}
	return list
}

func (p *textParser) scalar() any {
	p.skip()
	if p.accept('"') {
		return p.quoted()
	}
	word := p.name()
	if word == "" {
		p.fail()
		return nil
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return n
	}
	return text([]byte(word))
}

func (p *textParser) quoted() string {
	var out []byte
	for i := 0; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '\\' && i+1 < len(p.b):
			i++
			out = append(out, p.b[i])
		case c == '"':
			p.b = p.b[i+1:]
			return text(out)
		default:
			out = append(out, c)
		}
	}
	p.fail()
	return ""
}

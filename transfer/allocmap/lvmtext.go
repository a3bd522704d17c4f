package allocmap

import (
	"bytes"
	"errors"
	"strconv"
)

// Bounds on the text: lvm2 nests five levels deep, and a group of a thousand volumes has some hundred thousand values.
const (
	maxTextDepth  = 16
	maxTextValues = 2 << 20
)

var errText = errors.New("the LVM metadata is malformed")

// section is a node of LVM's metadata text (lvm2 libdm/libdm-config.c). A value is an int64, a string, a []any of those, or a
// section.
type section struct {
	keys   []string
	values map[string]any
}

func (s section) str(key string) string { v, _ := s.values[key].(string); return v }

// num returns a number; one that is missing is -1, which is impossible wherever a number is asked for.
func (s section) num(key string) int64 {
	if v, ok := s.values[key].(int64); ok {
		return v
	}
	return -1
}

func (s section) list(key string) []any { v, _ := s.values[key].([]any); return v }

func (s section) sub(key string) section { v, _ := s.values[key].(section); return v }

// each calls f for every subsection, in order.
func (s section) each(f func(name string, sub section)) {
	for _, k := range s.keys {
		if sub, ok := s.values[k].(section); ok {
			f(k, sub)
		}
	}
}

// parseText reads metadata text: name = value, name { … }, lists in brackets, # to the end of the line.
func parseText(b []byte) (section, error) {
	p := &textParser{b: b, left: maxTextValues}
	s := p.section(0)
	return s, p.err
}

type textParser struct {
	b    []byte
	left int
	err  error
}

func (p *textParser) fail() { p.err, p.b = errText, nil }

// next drops blanks and comments and returns what follows; 0 at the end.
func (p *textParser) next() byte {
	for len(p.b) > 0 {
		switch c := p.b[0]; c {
		case ' ', '\t', '\n', '\r', 0:
			p.b = p.b[1:]
		case '#':
			i := bytes.IndexByte(p.b, '\n')
			if i < 0 {
				i = len(p.b)
			}
			p.b = p.b[i:]
		default:
			return c
		}
	}
	return 0
}

func (p *textParser) accept(c byte) bool {
	if p.next() != c || c == 0 {
		return false
	}
	p.b = p.b[1:]
	return true
}

func (p *textParser) section(depth int) section {
	s := section{values: map[string]any{}}
	for p.next() != 0 && p.err == nil {
		if depth > 0 && p.accept('}') {
			return s
		}
		name := p.word()
		if p.left--; p.left < 0 || depth >= maxTextDepth || name == "" || s.values[name] != nil {
			p.fail()
			return s
		}
		s.keys = append(s.keys, name)
		switch {
		case p.accept('{'):
			s.values[name] = p.section(depth + 1)
		case p.accept('='):
			s.values[name] = p.value()
		default:
			p.fail()
		}
	}
	if depth > 0 {
		p.fail()
	}
	return s
}

// word returns what reaches to the next blank or sign.
func (p *textParser) word() string {
	p.next()
	n := bytes.IndexAny(p.b, " \t\r\n={}[],\"#\x00")
	if n < 0 {
		n = len(p.b)
	}
	w := string(p.b[:n])
	p.b = p.b[n:]
	return w
}

func (p *textParser) value() any {
	if p.left--; p.left < 0 {
		p.fail()
		return nil
	}
	if p.accept('[') {
		out := []any{}
		for p.err == nil && !p.accept(']') {
			if c := p.next(); c == '[' || c == 0 {
				p.fail()
				break
			}
			out = append(out, p.value())
			if !p.accept(',') && p.next() != ']' {
				p.fail()
			}
		}
		return out
	}
	if p.accept('"') {
		return p.quoted()
	}
	w := p.word()
	if n, err := strconv.ParseInt(w, 10, 64); err == nil {
		return n
	}
	if _, err := strconv.ParseFloat(w, 64); err != nil { // a fraction is nothing that is asked for
		p.fail()
	}
	return w
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
			return string(out)
		default:
			out = append(out, c)
		}
	}
	p.fail()
	return ""
}

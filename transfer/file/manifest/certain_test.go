package manifest

import (
	"io"
	"strings"

	"github.com/ferry-migrate/ferry/transfer/file"
	"pgregory.net/rapid"
)

// certain is what a recovery must not forget, or much would be sent again: files acknowledged whole, and those of the base that the walk
// did not come to.
type certain struct {
	pass   *pass
	before map[string]file.Entry
}

func states(s *Store) map[string]file.Entry {
	list := map[string]file.Entry{}
	if s.base == nil {
		return list
	}
	for c := s.base.Cursor(); ; {
		e, err := c.Next()
		if err == io.EOF {
			return list
		}
		must(err)
		list[string(e.Path)] = clone(e)
	}
}

func (k *certain) check(t *rapid.T, s *Store) {
	if !s.recovered.Unclean || k.pass == nil || k.pass.w == nil || k.pass.w.ended {
		return
	}
	cut, now := s.recovered.Cut, states(s)
	for path, frame := range k.pass.done {
		if e := now[path]; frame <= cut.Acked && path != string(cut.Path) && e.State != 0 {
			t.Fatalf("%q was acknowledged and has the state %b", path, e.State)
		}
	}
	for path, b := range k.pass.ahead(k.before) {
		if now[path].State != b.State&^passBits {
			t.Fatalf("%q was not come to (but to %q) and has the state %b, before %b", path, k.pass.at, now[path].State, b.State)
		}
	}
}

// ahead returns the entries of before that the walk did not come to; not those that it uncovered, nor links.
func (p *pass) ahead(before map[string]file.Entry) map[string]file.Entry {
	list := map[string]file.Entry{}
	for path, e := range before {
		if file.ComparePath([]byte(path), []byte(p.at)) > 0 && !strings.HasPrefix(path, p.at+"/") && len(e.Link) == 0 {
			list[path] = e
		}
	}
	return list
}

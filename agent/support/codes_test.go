package support

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write codes.json and docs/ERRORS.md")

const (
	codesFile = "codes.json"
	codesPage = "../../docs/ERRORS.md"
	rootDir   = "../.."
)

// TestCodes holds the pages of all codes against the code: each that stands there has one, and says what the code says.
func TestCodes(t *testing.T) {
	found := scan(t)
	var text []byte // a line for each code, so that a change shows which
	for i, c := range found {
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	text = append(append([]byte{'['}, text...), "\n]"...)
	page := []byte(markdown(found))
	for file, want := range map[string][]byte{codesFile: append(text, '\n'), codesPage: page} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what the code says (%v): go test ./agent/support -run TestCodes -update", file, err)
		}
	}
	for _, f := range Failures {
		for _, code := range f.Codes {
			if !slices.ContainsFunc(found, func(c Code) bool { return c.Code == code }) {
				t.Errorf("%s names %s, which nothing says", f.Name, code)
			}
		}
	}
	for _, c := range found {
		if !slices.ContainsFunc(c.Texts, func(a Advice) bool { return a.Remedy != "" || a.Message != "" }) {
			t.Errorf("%s says nothing", c.Code)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, code := range []string{"FERRY-TARGET-FULL", "target-full"} {
		if c, ok := Lookup(code); !ok || c.Code != "FERRY-TARGET-FULL" {
			t.Errorf("%s: %v, %v", code, c, ok)
		}
	}
	if _, ok := Lookup("FERRY-NO-SUCH-THING"); ok {
		t.Error("found what is not there")
	}
	if near := Near("FERRY-TARGET-FUL"); !slices.Contains(near, "FERRY-TARGET-FULL") {
		t.Errorf("near: %v", near)
	}
}

var isCode = regexp.MustCompile(`^FERRY-[A-Z0-9]+(-[A-Z0-9]+)*$`)

// scanner reads the packages of the module.
type scanner struct {
	constants map[string]string   // package.Name or Name within dir → value
	params    map[string][]string // dir.function → names of its parameters
	codes     map[string][]Advice
}

func scan(t *testing.T) (found []Code) {
	s := &scanner{constants: map[string]string{}, params: map[string][]string{}, codes: map[string][]Advice{}}
	files := map[string][]*ast.File{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(rootDir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(rootDir, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == "e2e" || rel == "dist" || rel == "agent/support" || strings.HasPrefix(d.Name(), ".") && rel != "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err == nil {
			files[filepath.ToSlash(filepath.Dir(rel))] = append(files[filepath.ToSlash(filepath.Dir(rel))], f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, list := range files {
		for _, f := range list {
			s.declare(dir, f)
		}
	}
	for dir, list := range files {
		for _, f := range list {
			s.file(dir, f)
		}
	}
	for code, texts := range s.codes {
		slices.SortFunc(texts, func(a, b Advice) int {
			return strings.Compare(a.Room+"\x00"+a.Message+"\x00"+a.Remedy, b.Room+"\x00"+b.Message+"\x00"+b.Remedy)
		})
		texts = slices.Compact(texts)
		if slices.ContainsFunc(texts, Advice.says) {
			texts = slices.DeleteFunc(texts, func(a Advice) bool { return !a.says() })
		}
		found = append(found, Code{Code: code, Texts: texts})
	}
	slices.SortFunc(found, func(a, b Code) int { return strings.Compare(a.Code, b.Code) })
	return found
}

func (a Advice) says() bool { return a.Message != "" || a.Remedy != "" }

// declare remembers constants and the parameters of functions.
func (s *scanner) declare(dir string, f *ast.File) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			var names []string
			for _, p := range d.Type.Params.List {
				for _, n := range p.Names {
					names = append(names, n.Name)
				}
			}
			s.params[dir+"."+d.Name.Name] = names
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || d.Tok != token.CONST {
					continue
				}
				for i, n := range v.Names {
					if i < len(v.Values) {
						if text := s.text(dir, v.Values[i]); text != "" {
							s.constants[dir+"."+n.Name] = text
						}
					}
				}
			}
		}
	}
}

// text is what an expression says, as far as it is known before it runs: a literal, a constant, a sum of them, or a format.
func (s *scanner) text(dir string, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value)
			return text
		}
	case *ast.Ident:
		return s.constants[dir+"."+e.Name]
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			for key, value := range s.constants {
				if at, name, _ := strings.Cut(key, "."); name == e.Sel.Name && (at == x.Name || strings.HasSuffix(at, "/"+x.Name)) {
					return value
				}
			}
		}
	case *ast.BinaryExpr:
		left, right := s.text(dir, e.X), s.text(dir, e.Y)
		if left == "" && right == "" {
			return ""
		}
		return orBlank(left) + orBlank(right)
	case *ast.CallExpr:
		for _, arg := range e.Args {
			if text := s.text(dir, arg); text != "" {
				return text
			}
		}
	}
	return ""
}

func orBlank(s string) string {
	if s == "" {
		return "…"
	}
	return s
}

func called(e *ast.CallExpr) string {
	switch f := e.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// file finds what says a code: a call with it among its arguments, or a literal with it among its fields.
func (s *scanner) file(dir string, f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s.call(dir, n)
		case *ast.CompositeLit:
			s.literal(dir, n)
		case *ast.BasicLit:
			if text := s.text(dir, n); isCode.MatchString(text) {
				s.add(text, Advice{Room: dir})
			}
		}
		return true
	})
}

func (s *scanner) add(code string, a Advice) {
	a.Message, a.Remedy = tidy(a.Message), tidy(a.Remedy)
	s.codes[code] = append(s.codes[code], a)
}

// tidy makes one line of a format that wraps an error.
func tidy(text string) string {
	text = strings.TrimSuffix(strings.TrimSuffix(text, ": %w"), "%w")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "%w", "…")), " ")
}

func (s *scanner) call(dir string, c *ast.CallExpr) {
	at := slices.IndexFunc(c.Args, func(e ast.Expr) bool { return isCode.MatchString(s.text(dir, e)) })
	if at < 0 {
		return
	}
	if _, nested := c.Args[at].(*ast.CallExpr); nested {
		return // it is met on its own
	}
	code := s.text(dir, c.Args[at])
	if called(c) == "Operator" && len(c.Args) == 3 {
		s.add(code, Advice{Room: dir, Remedy: s.text(dir, c.Args[1]), Message: s.text(dir, c.Args[2])})
		return
	}
	a := Advice{Room: dir}
	names := s.params[dir+"."+called(c)]
	for i := at + 1; i < len(c.Args) && i < len(names); i++ {
		switch names[i] {
		case "remedy":
			a.Remedy = s.text(dir, c.Args[i])
		case "reason", "format", "message", "why", "what", "err", "text":
			a.Message = s.text(dir, c.Args[i])
		}
	}
	s.add(code, a)
}

func (s *scanner) literal(dir string, l *ast.CompositeLit) {
	code := ""
	a := Advice{Room: dir}
	for _, e := range l.Elts {
		kv, keyed := e.(*ast.KeyValueExpr)
		if !keyed {
			if text := s.text(dir, e); isCode.MatchString(text) {
				code = text
			} else if code != "" && text != "" && a.Remedy == "" {
				a.Remedy = text
			} else if code != "" && text != "" {
				a.Message = text
			}
			continue
		}
		text := s.text(dir, kv.Value)
		key, _ := kv.Key.(*ast.Ident)
		switch {
		case isCode.MatchString(text):
			code = text
		case key == nil:
		case strings.EqualFold(key.Name, "remedy"):
			a.Remedy = text
		case strings.EqualFold(key.Name, "reason") || strings.EqualFold(key.Name, "err"):
			a.Message = text
		}
	}
	if code != "" {
		s.add(code, a)
	}
}

// markdown is docs/ERRORS.md.
func markdown(codes []Code) string {
	var b strings.Builder
	b.WriteString("# Codes\n\nMade from the code by `go test ./agent/support -run TestCodes -update`. Codes are stable: scripts may match them.\n")
	b.WriteString("`ferry debug error CODE` prints one page; `…` and `%s` stand for what is filled in.\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "\n## %s\n\n", c.Code)
		for _, t := range c.Texts {
			switch {
			case t.Message != "" && t.Remedy != "":
				fmt.Fprintf(&b, "- %s. **Try:** %s. (`%s`)\n", plain(t.Message), plain(t.Remedy), t.Room)
			case t.Remedy != "":
				fmt.Fprintf(&b, "- **Try:** %s. (`%s`)\n", plain(t.Remedy), t.Room)
			default:
				fmt.Fprintf(&b, "- %s. (`%s`)\n", plain(t.Message), t.Room)
			}
		}
	}
	b.WriteString("\n# Known failures\n\nWhat `ferry debug explain` looks for in a bundle, with the code of the SMS service where it has one.\n\n")
	b.WriteString("| failure | SMS | cause | remedy |\n|---|---|---|---|\n")
	for _, f := range Failures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Name, strings.Join(f.SMS, ", "), plain(f.Cause), plain(f.Remedy))
	}
	return b.String()
}

// plain keeps a text from being markup.
func plain(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(strings.TrimSuffix(s, "."))
}

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ferry-migrate/ferry"

// A layer may not reach, not even through others, the packages in not; those in but excepted.
type layer struct {
	of       string // package path below the module, with all below it
	not, but []string
	why      string
}

var layers = []layer{
	{of: "transfer", not: []string{"agent", "reporter", "collector", "controller"}, but: []string{"collector/blockdev"},
		why: "transfer moves bytes and knows no task, no API and no host; the agent hands it a plan"},
	{of: "collector", not: []string{"agent", "transfer", "reporter", "controller"},
		why: "the collector reads facts; it decides, moves and reports nothing"},
	{of: "reporter", not: []string{"agent", "transfer", "collector", "controller"},
		why: "the reporter sends copies of the state it is given and knows no engine"},
	{of: "controller", not: []string{"agent", "transfer", "collector", "reporter"}, but: []string{"reporter/smsapi", "reporter/dcsapi"},
		why: "the control plane knows an agent by the API's wire types only"},
	{of: "agent", not: []string{"controller"},
		why: "the agent speaks to any control plane over the API; cmd starts the embedded one"},
	{of: "internal", not: []string{"agent", "transfer", "collector", "reporter", "controller"},
		why: "internal holds leaves that any room may use"},
	{of: "", not: []string{"e2e", "cmd"}, but: []string{"e2e", "cmd"},
		why: "the lab and the commands are ends: nothing depends on them"},
}

// leaves import the standard library only.
var leaves = []string{"collector/inventory", "transfer/extent", "reporter/report", "reporter/smsapi", "reporter/dcsapi"}

// starters are the files, tests and the lab aside, that start programs; .golangci.yml holds the same list.
var starters = []string{
	"internal/command/command.go", "internal/command/group_unix.go", "internal/command/group_windows.go", // the one runner
	"internal/command/self_linux.go", // and this program once more
}

// listed is what `go list -json` says of one package.
type listed struct {
	ImportPath                                                      string
	Dir                                                             string
	Standard                                                        bool
	Imports, Deps                                                   []string
	GoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles, TestImports []string
}

func list(t *testing.T, goos string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Dir,Standard,Imports,Deps,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,TestImports", "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("the go command is not installed")
	}
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room returns the path of a package below the module, and whether it is one of ours.
func room(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func below(p, dir string) bool { return dir == "" || p == dir || strings.HasPrefix(p, dir+"/") }

func belowAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return below(p, d) })
}

// TestImportRule holds the arrows of the house down, for each system we build for.
func TestImportRule(t *testing.T) {
	for _, goos := range []string{"linux", "windows"} {
		t.Run(goos, func(t *testing.T) {
			standard := map[string]bool{"C": true}
			all := list(t, goos)
			for _, p := range all {
				if p.Standard {
					standard[p.ImportPath] = true
				}
			}
			ours := 0
			for _, p := range all {
				if name, ok := room(p.ImportPath); ok {
					ours++
					checkLayers(t, name, p.Deps)
					checkLeaf(t, name, p.Imports, standard)
					checkFiles(t, name, &p)
				}
			}
			if ours == 0 {
				t.Fatal("go list shows no package of this module: the rule was not tried")
			}
		})
	}
}

func checkLayers(t *testing.T, name string, deps []string) {
	for _, l := range layers {
		if !below(name, l.of) || l.of == "" && belowAny(name, l.but) {
			continue
		}
		for _, d := range deps {
			dep, ok := room(d)
			if ok && belowAny(dep, l.not) && !(l.of != "" && belowAny(dep, l.but)) {
				t.Errorf("%s reaches %s: %s", name, dep, l.why)
			}
		}
	}
}

func checkLeaf(t *testing.T, name string, imports []string, standard map[string]bool) {
	if !slices.Contains(leaves, name) {
		return
	}
	for _, i := range imports {
		if !standard[i] {
			t.Errorf("%s imports %s: a leaf holds plain data and imports the standard library only", name, i)
		}
	}
}

// checkFiles looks at every file, those of other systems too: what a file of the wrong system imports is not in the graph.
func checkFiles(t *testing.T, name string, p *listed) {
	for _, f := range slices.Concat(p.GoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
		src, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		file := path.Join(name, f)
		for _, spec := range src.Imports {
			i, _ := strconv.Unquote(spec.Path.Value)
			if i == "os/exec" && !mayExec(file) {
				t.Errorf("%s imports os/exec: a program started needs its tool on every source; if it cannot be avoided add the file to starters", file)
			}
			if below(i, "golang.org/x/sys") && !hasSystem(f) {
				t.Errorf("%s imports %s: calls of one system belong in a file with its suffix, so that the others still build", file, i)
			}
		}
	}
}

func mayExec(file string) bool {
	return below(file, "e2e") || strings.HasSuffix(file, "_test.go") || slices.Contains(starters, file)
}

// hasSystem reports whether the name of a file says its system. _other is what the systems without a body of their own get.
func hasSystem(file string) bool {
	words := strings.Split(strings.TrimSuffix(strings.TrimSuffix(file, ".go"), "_test"), "_")
	return slices.ContainsFunc(words[1:], func(w string) bool {
		return slices.Contains([]string{"linux", "windows", "unix", "other"}, w)
	})
}

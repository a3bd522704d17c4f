package inventory

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the schema anew")

const schemaFile = "../../docs/inventory.schema.json"

// TestSchema keeps the JSON Schema in the documents equal to the types: names, kinds and comments.
func TestSchema(t *testing.T) {
	got, err := json.MarshalIndent(schema(t), "", "  ")
	require.NoError(t, err)
	got = append(got, '\n')
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, got, 0o644))
	}
	want, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "the types have changed: run go test -update, and think of SchemaVersion")
}

// comments reads the doc comments of this package: "Type" and "Type.Field".
func comments(t *testing.T) map[string]string {
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	out := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			d, ok := n.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				return true
			}
			for _, spec := range d.Specs {
				ts := spec.(*ast.TypeSpec)
				out[ts.Name.Name] = oneLine(d.Doc)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range st.Fields.List {
					for _, name := range field.Names {
						out[ts.Name.Name+"."+name.Name] = strings.TrimSpace(oneLine(field.Doc) + " " + oneLine(field.Comment))
					}
				}
			}
			return true
		})
	}
	return out
}

func oneLine(g *ast.CommentGroup) string {
	return strings.Join(strings.Fields(g.Text()), " ")
}

func schema(t *testing.T) map[string]any {
	s := schemaMaker{defs: map[string]any{}, docs: comments(t)}
	s.typ(reflect.TypeFor[Server]())
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     fmt.Sprintf("https://github.com/ferry-migrate/ferry/docs/inventory.schema.json?version=%d", SchemaVersion),
		"title":   "Ferry inventory", "description": "What ferry discover --json prints. Sizes and offsets are bytes. Fields may be added.",
		"$ref": "#/$defs/Server", "$defs": s.defs,
	}
}

type schemaMaker struct {
	defs map[string]any
	docs map[string]string
}

func (s schemaMaker) typ(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.typ(t.Elem())
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": s.typ(t.Elem())}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.typ(t.Elem())}
	case t.Kind() == reflect.Struct:
		if _, ok := s.defs[t.Name()]; !ok {
			s.defs[t.Name()] = nil
			s.defs[t.Name()] = s.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case t.Kind() == reflect.String:
		return map[string]any{"type": "string"}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Float64:
		return map[string]any{"type": "number"}
	default:
		return map[string]any{"type": "integer"}
	}
}

func (s schemaMaker) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := s.typ(f.Type)
		if doc := s.docs[t.Name()+"."+f.Name]; doc != "" {
			p["description"] = doc
		}
		properties[name] = p
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "description": s.docs[t.Name()], "properties": properties, "required": required}
}

// TestTags keeps every field in the format, by a name of small letters.
func TestTags(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t2 reflect.Type) {
		for t2.Kind() == reflect.Pointer || t2.Kind() == reflect.Slice || t2.Kind() == reflect.Map {
			t2 = t2.Elem()
		}
		if t2.Kind() != reflect.Struct || seen[t2] || t2 == reflect.TypeFor[time.Time]() {
			return
		}
		seen[t2] = true
		for i := range t2.NumField() {
			name, _, _ := strings.Cut(t2.Field(i).Tag.Get("json"), ",")
			require.Regexp(t, `^[a-z][a-z0-9_]*$`, name, "%s.%s", t2, t2.Field(i).Name)
			walk(t2.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Server]())
	require.Greater(t, len(seen), 20)
}

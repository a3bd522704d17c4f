package smsapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Schemas turns wire types into the JSON schemas of OpenAPI 3.0, by the rules that Decode checks requests with. Named types are
// collected and referred to: one type has one schema as a request and, because no rule is checked there, another as an answer.
type Schemas struct {
	named map[string]any
}

// NewSchemas returns an empty collection.
func NewSchemas() *Schemas { return &Schemas{named: map[string]any{}} }

// Named returns the collected schemas by name.
func (s *Schemas) Named() map[string]any { return s.named }

// Request returns the schema of a body that Decode reads into a value like this one.
func (s *Schemas) Request(value any) map[string]any { return s.of(reflect.TypeOf(value), rule{}, true) }

// Answer returns the schema of a body that encoding/json writes of a value like this one.
func (s *Schemas) Answer(value any) map[string]any { return s.of(reflect.TypeOf(value), rule{}, false) }

var (
	rawType         = reflect.TypeFor[json.RawMessage]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	marshalerType   = reflect.TypeFor[json.Marshaler]()
)

func (s *Schemas) of(t reflect.Type, r rule, request bool) map[string]any {
	switch {
	case t == rawType:
		return map[string]any{}
	case t.Kind() == reflect.Pointer:
		return nullable(s.of(t.Elem(), r, request))
	case request && reflect.PointerTo(t).Implements(unmarshalerType), !request && t.Implements(marshalerType):
		return map[string]any{} // its own form
	case t.Kind() == reflect.Struct && t.Name() != "":
		return s.refer(t, request)
	}
	schema := map[string]any{}
	switch t.Kind() {
	case reflect.Struct:
		schema = s.object(t, request)
	case reflect.Slice, reflect.Array:
		schema = s.array(t, r, request)
	case reflect.Map:
		schema["type"] = "object"
		schema["additionalProperties"] = s.of(t.Elem(), rule{}, request)
	case reflect.String:
		schema["type"] = "string"
		if request {
			restrictText(schema, r)
		}
	case reflect.Bool:
		schema["type"] = "boolean"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		restrictNumber(schema, t.Kind(), r, request)
	}
	if value, ok := defaultOf(t.Kind(), r.absent); ok && request {
		schema["default"] = value
	}
	return schema
}

// refer adds the schema of a named struct to the collection, and returns a reference to it.
func (s *Schemas) refer(t reflect.Type, request bool) map[string]any {
	name := t.Name()
	if !request {
		name += "Answer"
	}
	if _, known := s.named[name]; !known {
		s.named[name] = nil // a type may hold itself
		s.named[name] = s.object(t, request)
	}
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

func (s *Schemas) object(t reflect.Type, request bool) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, field := range fields(t) {
		schema := s.of(field.typ, field.rule, request)
		switch {
		case request && field.rule.required, !request && !field.optional:
			required = append(required, field.name)
		case request:
			schema = nullable(schema) // a null counts as absent
		}
		if !request && field.typ.Kind() == reflect.Slice {
			schema = nullable(schema)
		}
		properties[field.name] = schema
	}
	schema := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = required
	}
	return schema
}

func (s *Schemas) array(t reflect.Type, r rule, request bool) map[string]any {
	schema := map[string]any{"type": "array", "items": s.of(t.Elem(), rule{}, request)}
	if request {
		schema["maxItems"] = r.most(maxItems)
		if r.least() > 0 {
			schema["minItems"] = r.least()
		}
	}
	return schema
}

func restrictText(schema map[string]any, r rule) {
	schema["maxLength"] = r.most(maxText)
	if r.least() > 0 {
		schema["minLength"] = r.least()
	}
	if r.enum != nil {
		schema["enum"] = r.enum
	}
}

func restrictNumber(schema map[string]any, kind reflect.Kind, r rule, request bool) {
	switch kind {
	case reflect.Float64:
		schema["type"], schema["format"] = "number", "double"
	case reflect.Int32:
		schema["type"], schema["format"] = "integer", "int32"
	default:
		schema["type"], schema["format"] = "integer", "int64"
	}
	if !request {
		return
	}
	schema["minimum"] = r.least()
	if most, err := strconv.ParseInt(r.max, 10, 64); err == nil {
		schema["maximum"] = most
	}
}

// nullable returns schema with null allowed. A reference takes nothing beside itself, so it is wrapped.
func nullable(schema map[string]any) map[string]any {
	switch _, reference := schema["$ref"]; {
	case len(schema) == 0: // anything
		return schema
	case reference:
		return map[string]any{"nullable": true, "allOf": []any{schema}}
	}
	schema["nullable"] = true
	return schema
}

func defaultOf(kind reflect.Kind, text string) (any, bool) {
	switch {
	case text == "":
		return nil, false
	case kind == reflect.Bool:
		return text == "true", true
	case kind == reflect.String:
		return text, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// A jsonField is a field of a struct as encoding/json sees it.
type jsonField struct {
	name     string
	typ      reflect.Type
	rule     rule
	optional bool // may be left out of an answer
}

// fields returns the fields of a struct, those of the structs it embeds too unless it hides them.
func fields(t reflect.Type) (list []jsonField) {
	seen := map[string]bool{}
	add := func(f jsonField) {
		if !seen[f.name] {
			seen[f.name] = true
			list = append(list, f)
		}
	}
	var embedded []jsonField
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			embedded = append(embedded, fields(field.Type)...)
			continue
		case name == "-" || !field.IsExported():
			continue
		case name == "":
			name = field.Name
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		add(jsonField{name: name, typ: field.Type, rule: parseRule(field.Tag.Get("rule")), optional: optional})
	}
	for _, f := range embedded {
		add(f)
	}
	return list
}

package smsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxItems is the longest array where no field says otherwise.
const maxItems = 65535

// Decode reads a request body into the struct that into points to, sets defaults and checks ranges. Errors are *Error and name
// the field. Unknown fields are ignored, a null counts as absent.
//
// Rules without a tag: a string has at most 255 characters, an array at most 65535 items, a number is not negative, an enum
// has a documented value. The `rule` tag adds, separated by commas: required, default=V, min=N and max=N (characters, items or
// value), clamp=N (a larger number becomes N), enum=A|B (the values of a string), code=C (the error code of a bad value of an
// enum). Rules that span fields are a method check of the body.
func Decode(body []byte, into any) error {
	var raw any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return invalid("the body is not JSON: %v", err)
	}
	if _, object := raw.(map[string]any); !object {
		return invalid("the body is not a JSON object")
	}
	if err := json.Unmarshal(body, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("%s: a JSON %s does not fit", wrong.Field, wrong.Value)
		}
		return invalid("the body is not JSON: %v", err)
	}
	if err := checkValue("", reflect.ValueOf(into).Elem(), raw, rule{}); err != nil {
		return err
	}
	if c, ok := into.(checker); ok {
		return c.check()
	}
	return nil
}

// A checker is a body with rules that span several of its fields.
type checker interface{ check() error }

// A rule is what a field's tag says.
type rule struct {
	required bool
	absent   string // default
	min, max string
	clamp    string
	enum     []string
	code     string
}

func parseRule(tag string) (r rule) {
	for part := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "required":
			r.required = true
		case "default":
			r.absent = value
		case "min":
			r.min = value
		case "max":
			r.max = value
		case "clamp":
			r.clamp = value
		case "enum":
			r.enum = strings.Split(value, "|")
		case "code":
			r.code = value
		}
	}
	return r
}

// most returns the maximum of the rule, or what holds without one.
func (r rule) most(otherwise int64) int64 {
	if n, err := strconv.ParseInt(r.max, 10, 64); err == nil {
		return n
	}
	return otherwise
}

// least returns the minimum of the rule, 0 without one.
func (r rule) least() int64 {
	n, _ := strconv.ParseInt(r.min, 10, 64)
	return n
}

// documented returns an error unless v is a string with one of the values it may have, or no enum.
func (r rule) documented(path string, v reflect.Value) error {
	if e, ok := v.Interface().(enum); (!ok || e.Known()) && (r.enum == nil || slices.Contains(r.enum, v.String())) {
		return nil
	}
	err := invalid("%s: %q is not a documented value", path, trim(v.String(), 40))
	if r.code != "" {
		err.Code = r.code
	}
	return err
}

// checkValue checks v, which was decoded from raw: nil where the field was absent or null.
func checkValue(path string, v reflect.Value, raw any, r rule) error {
	if raw == nil && path != "" {
		return setAbsent(path, v, r)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() { // a null under the same key in another case came after the value
			return setAbsent(path, v, r)
		}
		return checkValue(path, v.Elem(), raw, r)
	}
	if err := r.documented(path, v); err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Struct:
		return checkFields(path, v, raw)
	case reflect.Slice:
		return checkItems(path, v, raw, r)
	case reflect.String:
		switch n := int64(utf8.RuneCountInString(v.String())); {
		case n > r.most(maxText):
			return invalid("%s: longer than %d characters", path, r.most(maxText))
		case n < r.least():
			return invalid("%s: shorter than %d characters", path, r.least())
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if v.Int() < r.least() || v.Int() > r.most(v.Int()) {
			return invalid("%s: %d is out of range", path, v.Int())
		}
	case reflect.Float64:
		return checkFloat(path, v, r)
	}
	return nil
}

// setAbsent gives a field that was not sent its default.
func setAbsent(path string, v reflect.Value, r rule) error {
	if r.required {
		return invalid("%s: required", path)
	}
	v.SetZero() // encoding/json also takes keys of another case and merges repeated ones: neither was checked
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.absent == "true")
	case reflect.Int:
		n, _ := strconv.Atoi(r.absent)
		v.SetInt(int64(n))
	case reflect.String:
		v.SetString(r.absent)
	}
	return nil
}

func checkFields(path string, v reflect.Value, raw any) error {
	fields, _ := raw.(map[string]any)
	if path != "" {
		path += "."
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			if err := checkFields(strings.TrimSuffix(path, "."), v.Field(i), raw); err != nil {
				return err
			}
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if err := checkValue(path+name, v.Field(i), fields[name], parseRule(field.Tag.Get("rule"))); err != nil {
			return err
		}
	}
	return nil
}

func checkItems(path string, v reflect.Value, raw any, r rule) error {
	if v.Type().Elem().Kind() == reflect.Uint8 { // json.RawMessage
		return nil
	}
	items, _ := raw.([]any)
	switch n := int64(len(items)); {
	case len(items) != v.Len(): // a key in another case came after this one
		return invalid("%s: given twice", path)
	case n > r.most(maxItems):
		return invalid("%s: more than %d items", path, r.most(maxItems))
	case n < r.least():
		return invalid("%s: fewer than %d items", path, r.least())
	}
	for i := range items {
		item := fmt.Sprintf("%s[%d]", path, i)
		if err := checkValue(item, v.Index(i), items[i], rule{required: true}); err != nil {
			return err
		}
	}
	return nil
}

func checkFloat(path string, v reflect.Value, r rule) error {
	if most, err := strconv.ParseFloat(r.clamp, 64); err == nil {
		v.SetFloat(min(v.Float(), most))
	}
	if v.Float() < 0 || r.max != "" && v.Float() > float64(r.most(0)) {
		return invalid("%s: %v is out of range", path, v.Float())
	}
	return nil
}

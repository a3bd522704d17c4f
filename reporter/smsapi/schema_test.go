package smsapi_test

import (
	"encoding/json"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

type inner struct {
	Hidden int    `json:"name" rule:"required"`
	Deep   string `json:"deep" rule:"min=1,max=9,enum=a|b"`
}

type outer struct {
	inner

	Name    string          `json:"name" rule:"required"`
	Size    int64           `json:"size,omitempty" rule:"default=7,min=1,max=10"`
	Speed   float64         `json:"speed" rule:"max=100"`
	On      *bool           `json:"on,omitempty" rule:"default=true"`
	Parts   []inner         `json:"parts" rule:"required,min=1,max=5"`
	Any     json.RawMessage `json:"any"`
	Map     map[string]int  `json:"map"`
	Again   *outer          `json:"again,omitempty"`
	private int
	Skip    int `json:"-"`
}

// What the schema of a request says is what Decode checks; an answer promises no ranges, only which fields are always there.
func TestSchemas(t *testing.T) {
	require.Zero(t, outer{}.private)
	schemas := smsapi.NewSchemas()
	require.Equal(t, map[string]any{"$ref": "#/components/schemas/outer"}, schemas.Request(outer{}))
	require.Equal(t, map[string]any{"$ref": "#/components/schemas/outerAnswer"}, schemas.Answer(outer{}))
	text, err := json.Marshal(schemas.Named())
	require.NoError(t, err)
	require.JSONEq(t, `{
		"inner": {"type":"object", "required":["name"], "properties": {
			"name": {"type":"integer","format":"int64","minimum":0},
			"deep": {"type":"string","minLength":1,"maxLength":9,"enum":["a","b"],"nullable":true}}},
		"innerAnswer": {"type":"object", "required":["deep","name"], "properties": {
			"name": {"type":"integer","format":"int64"}, "deep": {"type":"string"}}},
		"outer": {"type":"object", "required":["name","parts"], "properties": {
			"name": {"type":"string","maxLength":255},
			"deep": {"type":"string","minLength":1,"maxLength":9,"enum":["a","b"],"nullable":true},
			"size": {"type":"integer","format":"int64","minimum":1,"maximum":10,"default":7,"nullable":true},
			"speed": {"type":"number","format":"double","minimum":0,"maximum":100,"nullable":true},
			"on": {"type":"boolean","default":true,"nullable":true},
			"parts": {"type":"array","items":{"$ref":"#/components/schemas/inner"},"minItems":1,"maxItems":5},
			"any": {},
			"map": {"type":"object","additionalProperties":{"type":"integer","format":"int64","minimum":0},"nullable":true},
			"again": {"nullable":true,"allOf":[{"$ref":"#/components/schemas/outer"}]}}},
		"outerAnswer": {"type":"object", "required":["any","deep","map","name","parts","speed"], "properties": {
			"name": {"type":"string"}, "deep": {"type":"string"},
			"size": {"type":"integer","format":"int64"}, "speed": {"type":"number","format":"double"},
			"on": {"type":"boolean","nullable":true},
			"parts": {"type":"array","items":{"$ref":"#/components/schemas/innerAnswer"},"nullable":true},
			"any": {}, "map": {"type":"object","additionalProperties":{"type":"integer","format":"int64"}},
			"again": {"nullable":true,"allOf":[{"$ref":"#/components/schemas/outerAnswer"}]}}}}`, string(text))
}

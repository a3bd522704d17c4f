package controller

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// The OpenAPI document calls a type by its name alone: no two types of the two APIs share one.
func TestTypesHaveNamesOfTheirOwn(t *testing.T) {
	known := map[string]reflect.Type{}
	var visit func(of reflect.Type)
	visit = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			visit(of.Elem())
		case reflect.Struct:
			if of.Name() != "" && known[of.Name()] == nil {
				known[of.Name()] = of
				for i := range of.NumField() {
					visit(of.Field(i).Type)
				}
			}
			require.Contains(t, []reflect.Type{nil, of}, known[of.Name()])
		}
	}
	for _, route := range routes {
		for _, value := range []any{route.Request, route.Response} {
			if value != nil {
				visit(reflect.TypeOf(value))
			}
		}
	}
}

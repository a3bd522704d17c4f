package controller

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// schema is a piece of an OpenAPI document.
type schema = map[string]any

// openAPI describes a route table as an OpenAPI 3.0 document: what is checked and what is documented come from the same table and the
// same rules, so they cannot drift apart.
func openAPI(routes []Route) ([]byte, error) {
	types := smsapi.NewSchemas()
	paths := map[string]schema{}
	for _, route := range routes {
		path := strings.TrimSuffix(route.Path, "{$}")
		if paths[path] == nil {
			paths[path] = schema{}
		}
		paths[path][strings.ToLower(route.Method)] = operationOf(route, types)
	}
	return json.Marshal(schema{
		"openapi": "3.0.3",
		"info": schema{
			"title": "Ferry control plane", "version": "v3",
			"description": "The Huawei Cloud SMS v3 API and the migrations of its DCS v2 API, as Ferry serves them, and the part of its identity service that clients need.",
			"license":     schema{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		"servers": []schema{{"url": "/"}},
		"paths":   paths,
		"components": schema{
			"schemas": types.Named(),
			"securitySchemes": schema{
				"signature": schema{
					"type": "apiKey", "in": "header", "name": "Authorization",
					"description": "SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…",
				},
				"token": schema{"type": "apiKey", "in": "header", "name": smsapi.AuthTokenHeader},
			},
		},
	})
}

func operationOf(route Route, types *smsapi.Schemas) schema {
	status := cmp.Or(route.Status, http.StatusOK)
	answer := schema{"description": "Done."}
	refusal := schema{"description": "Refused, or failed.", "content": content(types.Answer(route.failure(smsapi.Error{})))}
	if route.Response != nil {
		answer["content"] = content(types.Answer(route.Response))
	}
	operation := schema{
		"operationId": route.Name,
		"responses":   schema{strconv.Itoa(status): answer, "default": refusal},
		"security":    []schema{{"signature": []string{}}, {"token": []string{}}},
		"x-callers":   callers(route.Who),
	}
	if route.Who == Anyone {
		operation["security"] = []schema{}
	}
	if parameters := parametersOf(route); len(parameters) > 0 {
		operation["parameters"] = parameters
	}
	if route.Request != nil {
		operation["requestBody"] = schema{"required": true, "content": content(types.Request(route.Request))}
	}
	return operation
}

func content(of schema) schema { return schema{"application/json": schema{"schema": of}} }

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func parametersOf(route Route) (parameters []schema) {
	for _, name := range pathParameter.FindAllStringSubmatch(route.Path, -1) {
		parameters = append(parameters, schema{"name": name[1], "in": "path", "required": true, "schema": schema{"type": "string"}})
	}
	for _, name := range route.Query {
		parameters = append(parameters, schema{"name": name, "in": "query", "schema": querySchema(name)})
	}
	return parameters
}

// querySchema describes a parameter of a query by its name, which means the same everywhere.
func querySchema(name string) schema {
	switch name {
	case "limit", "offset":
		return schema{"type": "integer", "minimum": 0, "maximum": smsapi.MaxOffset}
	case "connected", "is_consistency_result_exist", "enable_ca_cert":
		return schema{"type": "boolean"}
	default:
		return schema{"type": "string", "maxLength": 255}
	}
}

func callers(who Callers) (names []string) {
	names = append(names, "admin")
	if who&Users != 0 {
		names = append(names, "reader")
	}
	if who&Agents != 0 {
		names = append(names, "agent")
	}
	if who&(Agents|Machines) != 0 {
		names = append(names, "machine")
	}
	if who == Anyone {
		names = []string{"anyone"}
	}
	slices.Sort(names)
	return names
}

package support

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// A Code is the page of one stable code.
type Code struct {
	Code  string   `json:"code"`
	Texts []Advice `json:"texts"`
}

// Advice is what one place in the code says with a code. %s and the like stand for what is filled in.
type Advice struct {
	Room    string `json:"room"` // the package it comes from
	Message string `json:"message,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

//go:embed codes.json
var codesText []byte

// Codes returns the pages of all codes, in order.
var Codes = sync.OnceValue(func() (all []Code) {
	if err := json.Unmarshal(codesText, &all); err != nil {
		panic(fmt.Sprintf("codes.json: %v", err)) // embedded: a test reads it
	}
	return all
})

// Lookup returns the page of a code: FERRY-…, with or without the prefix, in any case.
func Lookup(code string) (Code, bool) {
	code = strings.ToUpper(strings.TrimSpace(code))
	if !strings.HasPrefix(code, "FERRY-") {
		code = "FERRY-" + code
	}
	i, found := slices.BinarySearchFunc(Codes(), code, func(c Code, code string) int { return strings.Compare(c.Code, code) })
	if !found {
		return Code{}, false
	}
	return Codes()[i], true
}

// Near returns codes that share a word with one that does not exist.
func Near(code string) (near []string) {
	words := strings.FieldsFunc(strings.ToUpper(code), func(r rune) bool { return r == '-' || r == '.' || r == ' ' })
	for _, c := range Codes() {
		for _, w := range words {
			if len(w) > 2 && w != "FERRY" && strings.Contains(c.Code, w) {
				near = append(near, c.Code)
				break
			}
		}
	}
	return near
}

// Print writes the page as text.
func (c Code) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.Code)
	for _, t := range c.Texts {
		b.WriteByte('\n')
		if t.Message != "" {
			fmt.Fprintf(&b, "  what     %s\n", t.Message)
		}
		if t.Remedy != "" {
			fmt.Fprintf(&b, "  remedy   %s\n", t.Remedy)
		}
		fmt.Fprintf(&b, "  said by  %s\n", t.Room)
	}
	for _, f := range Failures {
		if slices.Contains(f.Codes, c.Code) {
			fmt.Fprintf(&b, "\n  %s\n  remedy   %s\n", f.Cause, f.Remedy)
			if len(f.SMS) > 0 {
				fmt.Fprintf(&b, "  the SMS service says %s\n", strings.Join(f.SMS, ", "))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

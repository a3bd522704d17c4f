package controller

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// docs/TASKS.md shows the table of operations as it is.
func TestActionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/TASKS.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "compares -->\n")
	documented, _, ok := strings.Cut(rest, "<!-- /actions -->")
	require.True(t, ok)
	table := "| operation | in these states | becomes | the agent is told | refused with |\n|---|---|---|---|---|\n"
	for _, operation := range operationsOf(actions) {
		a := actions[operation]
		table += fmt.Sprintf("| %s | %s | %s | %s | %s |\n", operation, fromWords(a.from), toWords(a), cmp.Or(string(a.command), "–"), cmp.Or(a.code, smsapi.CodeState))
	}
	require.Equal(t, table, documented)
}

func fromWords(from []smsapi.TaskState) string {
	if from == nil {
		return "any but DELETING"
	}
	var words []string
	for _, s := range from {
		words = append(words, string(s))
	}
	return strings.Join(words, ", ")
}

func toWords(a action) string {
	if a.to == nil {
		return "stays"
	}
	first, later := begun(smsapi.StateReady), begun(smsapi.StateAbort)
	later.Subtasks[1].Progress = 100
	if a.to(first) != a.to(later) {
		return string(a.to(first)) + " or " + string(a.to(later))
	}
	return string(a.to(first))
}

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/require"
)

// TestDocs makes the man pages and completions of the packages from the commands, in FERRY_DOCS where it is set: that keeps their
// generator out of the program.
func TestDocs(t *testing.T) {
	dir := os.Getenv("FERRY_DOCS")
	if dir == "" {
		dir = t.TempDir()
	}
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	require.NoError(t, os.MkdirAll(man, 0o755))
	require.NoError(t, os.MkdirAll(completions, 0o755))
	root := rootCommand()
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	released := time.Unix(0, 0)
	if given, err := time.Parse(time.RFC3339, os.Getenv("FERRY_DATE")); err == nil {
		released = given.UTC()
	}
	require.NoError(t, doc.GenManTree(root, &doc.GenManHeader{Title: "FERRY", Section: "1", Source: "ferry", Manual: "Ferry", Date: &released}, man))
	require.NoError(t, root.GenBashCompletionFileV2(filepath.Join(completions, "ferry.bash"), true))
	require.NoError(t, root.GenZshCompletionFile(filepath.Join(completions, "_ferry")))
	require.NoError(t, root.GenFishCompletionFile(filepath.Join(completions, "ferry.fish"), true))
	require.NoError(t, root.GenPowerShellCompletionFileWithDesc(filepath.Join(completions, "ferry.ps1")))

	for _, page := range []string{"ferry.1", "ferry-migrate.1", "ferry-agent.1", "ferry-agent-install.1"} {
		text, err := os.ReadFile(filepath.Join(man, page))
		require.NoError(t, err)
		require.Contains(t, string(text), ".SH NAME\n")
	}
	eachCommand(root, func(c *cobra.Command) {
		require.True(t, c.Hidden || c.Short != "", "%s has no help", c.CommandPath())
	})
}

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, do)
	}
}

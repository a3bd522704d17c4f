package source

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestExcludes(t *testing.T) {
	for _, c := range []struct {
		pattern, dir, name string
		isDir, want        bool
	}{
		{"cache", "", "cache", true, true},
		{"cache", "a/b", "cache", false, true},
		{"cache", "a", "cached", false, false},
		{"*.tmp", "x", "y.tmp", false, true},
		{"cache/", "", "cache", false, false},
		{"cache/", "", "cache", true, true},
		{"/src/var/cache", "var", "cache", true, true},
		{"/src/var/cache", "x/var", "cache", true, false},
		{"/var/cache", "var", "cache", true, true},
		{"var/cache", "var", "cache", true, true},
		{"var/*/x", "var/y", "x", false, true},
		{"var/*/x", "var/y/z", "x", false, false},
		{"var/**/x", "var/y/z", "x", false, true},
		{"var/**/x", "var", "x", false, true},
	} {
		x, err := NewExcludes("/src", []string{c.pattern})
		require.NoError(t, err)
		require.Equal(t, c.want, x.Match([]byte(c.dir), []byte(c.name), c.isDir), "%+v", c)
	}
}

func TestExcludesCoverWhatLiesBelow(t *testing.T) {
	x, err := NewExcludes("/src", []string{"var/cache"})
	require.NoError(t, err)
	require.True(t, x.Covers([]byte("var/cache/a/b"), false))
	require.True(t, x.Covers([]byte("var/cache"), true))
	require.False(t, x.Covers([]byte("var"), true))
}

func TestExcludesThatMakeNoSense(t *testing.T) {
	for _, pattern := range []string{"/", "[", "/src/", "a/[b"} {
		_, err := NewExcludes("/src", []string{pattern})
		require.Equal(t, "FERRY-EXCLUDE-SYNTAX", fault.CodeOf(err), pattern)
	}
	var none *Excludes
	require.False(t, none.Match(nil, []byte("x"), false))
}

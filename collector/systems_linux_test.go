package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// unpack makes a tree of a text archive: a line "-- path --" begins a file, "-- path -> target --" is a symbolic link.
func unpack(t testing.TB, archive string) string {
	t.Helper()
	dir := t.TempDir()
	_, rest, _ := strings.Cut("\n"+archive, "\n-- ")
	for _, entry := range strings.Split(rest, "\n-- ") {
		head, content, _ := strings.Cut(entry, "\n")
		name, _ := strings.CutSuffix(head, " --")
		name, target, link := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if link {
			require.NoError(t, os.Symlink(target, path))
			continue
		}
		perm := os.FileMode(0o644)
		if strings.Contains(name, "bin/") {
			perm = 0o755
		}
		require.NoError(t, os.WriteFile(path, []byte(content+"\n"), perm))
	}
	return dir
}

// TestSystems collects from text archives of /proc, /sys and /etc of different distributions and clouds.
func TestSystems(t *testing.T) {
	files, err := filepath.Glob("testdata/systems/*.txt")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 6)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			archive, err := os.ReadFile(file)
			require.NoError(t, err)
			s := Collect(context.Background(), Options{Root: unpack(t, string(archive))})
			s.Host.Architecture = "amd64" // that of the test machine otherwise
			for i := range s.Missing {    // gopsutil looks at this machine for some of it
				require.NotEqual(t, "storage", s.Missing[i].Part)
			}
			var b bytes.Buffer
			require.NoError(t, WriteTree(&b, s))
			b.WriteString("\n")
			for _, f := range Preflight(s) {
				if f.Level != LevelOK {
					b.WriteString(string(f.Level) + " " + f.Code + " " + f.Subject + ": " + f.Reason + "\n")
				}
			}
			out := struct {
				Host, OS, Boot, NICs, Routes, DNS, Disks, Mounts, Swaps, Fstab, Crypttab, Tools, Databases, Missing any
			}{s.Host, s.OS, s.Boot, s.NICs, s.Routes, s.DNS, s.Disks, s.Mounts, s.Swaps, s.Fstab, s.Crypttab, s.Tools, s.Databases, s.Missing}
			e := json.NewEncoder(&b)
			b.WriteString("\n")
			e.SetEscapeHTML(false)
			e.SetIndent("", " ")
			require.NoError(t, e.Encode(out))
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run go test -update")
			if string(want) != b.String() {
				require.Equal(t, strings.Split(string(want), "\n"), strings.Split(b.String(), "\n"))
			}
		})
	}
}

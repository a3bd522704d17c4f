package crashpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain runs the child half of the tests: it reaches "a" and "b" twice and then ends well.
func TestMain(m *testing.M) {
	if os.Getenv("CRASHPOINT_CHILD") != "" {
		for range 2 {
			Hit("a")
			Hit("b")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestHit(t *testing.T) {
	for _, c := range []struct {
		at, trace string
		dies      bool
	}{
		{at: "", trace: "a\nb\na\nb\n"},
		{at: "a:1", trace: "a\n", dies: true},
		{at: "b:2", trace: "a\nb\na\nb\n", dies: true},
		{at: "a:2", trace: "a\nb\na\n", dies: true},
		{at: "a:3", trace: "a\nb\na\nb\n"},
		{at: "c:1", trace: "a\nb\na\nb\n"},
		{at: "a", trace: "a\nb\na\nb\n"},
		{at: "a:0", trace: "a\nb\na\nb\n"},
		{at: "a:x", trace: "a\nb\na\nb\n"},
	} {
		t.Run(c.at, func(t *testing.T) {
			trace := filepath.Join(t.TempDir(), "trace")
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CRASHPOINT_CHILD=1", "FERRY_CRASH_AT="+c.at, "GORACE=atexit_sleep_ms=0", "FERRY_CRASH_TRACE="+trace)
			err := cmd.Run()
			var exit *exec.ExitError
			if died := errors.As(err, &exit) && exit.ExitCode() == -1; died != c.dies {
				t.Errorf("killed: %v (%v), want %v", died, err, c.dies)
			}
			got, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.trace {
				t.Errorf("reached %q, want %q", got, c.trace)
			}
		})
	}
}

func TestUnarmed(t *testing.T) {
	if parse("", "") != nil {
		t.Fatal("armed without being asked")
	}
	if n := testing.AllocsPerRun(100, func() { Hit("a") }); n != 0 {
		t.Errorf("a Hit that does nothing allocates %v times", n)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const run = `{"Action":"start","Package":"github.com/ferry-migrate/ferry/a"}
{"Action":"run","Package":"github.com/ferry-migrate/ferry/a","Test":"TestGood"}
{"Action":"output","Package":"github.com/ferry-migrate/ferry/a","Test":"TestGood","Output":"nothing of interest\n"}
{"Action":"pass","Package":"github.com/ferry-migrate/ferry/a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"github.com/ferry-migrate/ferry/a","Test":"TestSkips","Output":"    a_test.go:7: needs root\n"}
{"Action":"skip","Package":"github.com/ferry-migrate/ferry/a","Test":"TestSkips","Elapsed":0}
{"Action":"output","Package":"github.com/ferry-migrate/ferry/a","Test":"TestBad/ext4","Output":"    a_test.go:9: it broke\n"}
{"Action":"fail","Package":"github.com/ferry-migrate/ferry/a","Test":"TestBad/ext4","Elapsed":0}
{"Action":"fail","Package":"github.com/ferry-migrate/ferry/a","Elapsed":0.2}
{"ImportPath":"github.com/ferry-migrate/ferry/b","Action":"build-output","Output":"b.go:1: no such thing\n"}
{"ImportPath":"github.com/ferry-migrate/ferry/b","Action":"build-fail"}
{"Action":"fail","Package":"github.com/ferry-migrate/ferry/b","Elapsed":0,"FailedBuild":"github.com/ferry-migrate/ferry/b"}
`

func sample(t *testing.T) (*results, string) {
	t.Helper()
	var out strings.Builder
	res, err := read(strings.NewReader(run), &out)
	if err != nil {
		t.Fatal(err)
	}
	return res, out.String()
}

func TestRead(t *testing.T) {
	res, out := sample(t)
	if res.passed != 1 || res.failed != 2 || res.skipped != 1 {
		t.Errorf("passed %d failed %d skipped %d, want 1 2 1", res.passed, res.failed, res.skipped)
	}
	for _, want := range []string{"it broke", "no such thing", "fail a", "fail b"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "nothing of interest") {
		t.Errorf("the output tells what a good test said:\n%s", out)
	}
	if got := closing(res, 0, 0); !strings.HasPrefix(got, "FAIL: 1 tests passed, 2 failed, 1 skipped") {
		t.Errorf("closing line %q", got)
	}
}

func TestJudge(t *testing.T) {
	res, _ := sample(t)
	file := filepath.Join(t.TempDir(), "must")
	list := "# for people\na TestGood\na TestSkips\na TestGone\nelsewhere TestOther\nnonsense\n"
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(judge(res, file, true), "\n")
	for _, want := range []string{"TestSkips was skipped and may not be: needs root", "TestGone may not be skipped", "nonsense"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not reported:\n%s", want, got)
		}
	}
	if strings.Contains(got, "TestGood") || strings.Contains(got, "elsewhere") {
		t.Errorf("reported what is fine:\n%s", got)
	}
	if p := judge(res, file, false); len(p) != 0 {
		t.Errorf("a run without root is blamed: %v", p)
	}
}

func TestTable(t *testing.T) {
	res, _ := sample(t)
	rows, problems := parseFeatures("Good things | XFS | a TestGood\nBad things | ext4, XFS | a TestBad/{}\nOld kernels | Linux 3.10 | - | no such kernel here\nempty\n")
	if len(problems) != 1 {
		t.Errorf("problems of the list: %v", problems)
	}
	table, empty := render(rows, res)
	for _, want := range []string{"| Good things | XFS | `a TestGood` | proved |", "| Bad things | ext4 | `a TestBad/ext4` | FAILS |",
		"| Old kernels | Linux 3.10 | - | not proved: no such kernel here |"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if len(empty) != 1 || !strings.Contains(empty[0], "TestBad/xfs did not run") {
		t.Errorf("empty cells: %v", empty)
	}
	file := filepath.Join(t.TempDir(), "PROVED.md")
	if err := os.WriteFile(file, []byte("Last made elsewhere.\n\n"+table), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := compare(file, table); len(p) != 0 {
		t.Errorf("the same table differs: %v", p)
	}
	if p := compare(file, strings.Replace(table, "FAILS", "proved", 1)); len(p) != 2 {
		t.Errorf("a changed result is not reported from both sides: %v", p)
	}
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

const head = `# What is proved

Made by ` + "`make proved`" + ` from the results of the tests; ` + "`make test`" + ` fails when it no longer says the truth. Each row is a
feature on a kernel, filesystem or system, the test that tries to break it, and what came of it. What cannot be tried on
the machine that runs the tests has its row too, and says why.

`

// row is one feature on one system.
type row struct {
	feature, system string
	test            string // "package TestName", or "-"
	why             string // with "-": what cannot be tried here, and why
}

// parseFeatures reads "feature | system, system | package TestName/{}" and "feature | system | - | why". {} stands for the
// system in small letters. Empty lines and lines that begin with # are for people.
func parseFeatures(data string) (rows []row, problems []string) {
	for n, line := range strings.Split(data, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		proved := len(cells) == 3 && strings.Contains(cells[2], " ")
		excused := len(cells) == 4 && cells[2] == "-" && cells[3] != ""
		if cells[0] == "" || !proved && !excused {
			problems = append(problems, fmt.Sprintf("features, line %d: want feature | systems | test, or feature | systems | - | why", n+1))
			continue
		}
		for _, system := range strings.Split(cells[1], ",") {
			system = strings.TrimSpace(system)
			r := row{feature: cells[0], system: system, test: strings.ReplaceAll(cells[2], "{}", strings.ToLower(system))}
			if excused {
				r.why = cells[3]
			}
			rows = append(rows, r)
		}
	}
	return rows, problems
}

// prove makes the table and compares or writes it.
func prove(res *results, features, check, write string, root bool) []string {
	data, err := os.ReadFile(features)
	if err != nil {
		return []string{err.Error()}
	}
	rows, problems := parseFeatures(string(data))
	for _, r := range rows {
		if pkg, _, ok := strings.Cut(r.test, " "); ok && !res.packages[pkg] {
			fmt.Println("some packages only: the table of what is proved was left alone")
			return problems
		}
	}
	if !root {
		fmt.Println("not root: the table of what is proved was left alone")
		return problems
	}
	table, empty := render(rows, res)
	problems = append(problems, empty...)
	switch {
	case write != "" && len(problems) == 0:
		if err := os.WriteFile(write, []byte(head+ranOn()+"\n\n"+table), 0o644); err != nil {
			problems = append(problems, err.Error())
		}
	case check != "":
		problems = append(problems, compare(check, table)...)
	}
	return problems
}

// render returns the table and the rows without a result.
func render(rows []row, res *results) (table string, empty []string) {
	var b strings.Builder
	b.WriteString("| Feature | System | Test | Result |\n|---|---|---|---|\n")
	for _, r := range rows {
		result := ""
		switch res.of[r.test] {
		case "pass":
			result = "proved"
		case "fail":
			result = "FAILS"
		case "skip":
			result = "skipped: " + res.why[r.test]
		}
		if r.test == "-" {
			result = "not proved: " + r.why
		}
		if result == "" {
			empty = append(empty, fmt.Sprintf("the feature %q on %s has no result: %s did not run", r.feature, r.system, r.test))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.feature, r.system, code(r.test), strings.ReplaceAll(result, "|", "\\|"))
	}
	return b.String(), empty
}

func code(test string) string {
	if test == "-" {
		return test
	}
	return "`" + test + "`"
}

// compare reports the rows in which the committed table differs. The text above the table names the machine of the run
// and is not compared.
func compare(file, table string) (problems []string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	old := map[string]bool{}
	for _, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "|") {
			old[line] = true
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if !old[line] {
			problems = append(problems, file+" does not say: "+line)
		}
		delete(old, line)
	}
	for line := range old {
		problems = append(problems, file+" says what this run did not show: "+line)
	}
	return problems
}

func ranOn() string {
	release := "unknown"
	if out, err := exec.Command("uname", "-r").Output(); err == nil {
		release = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("Last made on %s/%s, kernel %s.", runtime.GOOS, runtime.GOARCH, release)
}

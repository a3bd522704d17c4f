// Proved runs the tests and says what they prove.
//
//	go run ./e2e/proved [-must FILE] [-features FILE] [-check FILE | -write FILE] -- PACKAGES
//
// It runs `go test -race -json`, prints what failed, and ends with one closing line. Beyond the tests' own results it fails
//
//   - when a test that FILE of -must names was skipped or is gone: a run cannot pass by skipping (as root only; others
//     are told what root would have run);
//   - when a feature has no result: a table with an empty cell proves nothing;
//   - with -check, when the table of features differs from the committed one.
//
// A run of some packages only judges the tests of those packages and leaves the table alone.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	must := flag.String("must", "", "`file` with the tests that may not be skipped")
	features := flag.String("features", "", "`file` with the features and the tests that prove them")
	check := flag.String("check", "", "compare the table with this `file`")
	write := flag.String("write", "", "write the table to this `file`")
	flag.Parse()
	began := time.Now()
	res, err := test(flag.Args(), os.Stdout)
	problems := []string{}
	if err != nil {
		problems = append(problems, err.Error())
	}
	root := os.Geteuid() == 0
	problems = append(problems, judge(res, *must, root)...)
	if *features != "" {
		problems = append(problems, prove(res, *features, *check, *write, root)...)
	}
	for _, p := range problems {
		fmt.Println("FAIL:", p)
	}
	fmt.Println(closing(res, len(problems), time.Since(began)))
	if res.failed > 0 || len(problems) > 0 {
		os.Exit(1)
	}
}

// closing is the last line of a run: whether it is good, in numbers.
func closing(res *results, problems int, took time.Duration) string {
	word := "PASS"
	if res.failed > 0 || problems > 0 {
		word = "FAIL"
	}
	return fmt.Sprintf("%s: %d tests passed, %d failed, %d skipped, %d other problems, in %.0f s",
		word, res.passed, res.failed, res.skipped, problems, took.Seconds())
}

// test runs the tests of the packages, tells out what goes wrong and returns every result. The error says why there are
// no results, or why the last word of go test was not theirs.
func test(packages []string, out io.Writer) (*results, error) {
	args := append([]string{"test", "-race", "-count=1", "-timeout=10m", "-json"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return newResults(), fmt.Errorf("go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return newResults(), fmt.Errorf("go test: %w", err)
	}
	res, readErr := read(pipe, out)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		return res, readErr
	case errors.As(err, &exit) && res.failed > 0:
		return res, nil // said already, test by test
	case err != nil:
		return res, fmt.Errorf("go test: %w", err)
	}
	return res, nil
}

// judge returns what is wrong with the tests that may not be skipped.
func judge(res *results, file string, root bool) (problems []string) {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		pkg, name, ok := strings.Cut(line, " ")
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: %q is not a package and a test", file, line))
			continue
		}
		if !res.packages[pkg] {
			continue // not part of this run
		}
		switch res.of[pkg+" "+name] {
		case "skip":
			problems = append(problems, line+" was skipped and may not be: "+res.why[line])
		case "":
			problems = append(problems, line+" may not be skipped and did not run")
		}
	}
	if !root && len(problems) > 0 {
		fmt.Printf("not root: %d tests that root may not skip did not run\n", len(problems))
		return nil
	}
	return problems
}

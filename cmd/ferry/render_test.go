package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
)

func ptr[T any](v T) *T { return &v }

func someProgress() progressEvent {
	return progressEvent{
		Subtask: "MIGRATE_LINUX_FILE", Phase: "copy", Percent: 41, Bytes: 3 << 29, Total: 1023 << 30, Files: 123_456, Mbps: 944, CompressRate: 62.5,
		RemainSeconds: ptr(int64(36_000)),
	}
}

func someResult() resultEvent {
	return resultEvent{
		OK: true, Pass: "first", Files: 100_000, Bytes: 820 << 20, BytesRead: 821 << 20, BytesSent: 410 << 20, BytesSaved: 12 << 10, Seconds: 12.34, Mbps: 533.1,
		CompressRate: 50, Verified: "full",
		Losses: []lossEvent{{Kind: "security.selinux", Count: 3, Sample: []string{"/a\nb\x1b[2J", "/\xff"}, Remedy: "Mount the target with SELinux."}},
		Next:   []string{"ferry migrate /srv --to host --sync"},
	}
}

// keys returns the names in a JSON object, in order.
func keys(t *testing.T, line string) []string {
	t.Helper()
	var all []string
	d := json.NewDecoder(strings.NewReader(line))
	depth := 0
	name := true
	for {
		token, err := d.Token()
		if err != nil {
			return all
		}
		if delim, ok := token.(json.Delim); ok {
			if depth++; delim == '}' || delim == ']' {
				depth -= 2
			}
			name = true
			continue
		}
		if depth == 1 {
			if name {
				all = append(all, token.(string))
			}
			name = !name
		}
	}
}

func TestJSONLines(t *testing.T) {
	var out, notes bytes.Buffer
	r := newJSONRenderer(&out, &notes)
	clock := time.Unix(0, 0)
	r.every.now = func() time.Time { return clock }
	r.Progress(someProgress())
	r.Progress(someProgress()) // too soon
	clock = clock.Add(time.Second)
	unknown := someProgress()
	unknown.RemainSeconds = nil
	r.Progress(unknown)
	r.Note("to a person")
	r.Pass(passEvent{resultEvent: someResult(), Backlog: 5, ChurnMbps: 1.5, ForecastSeconds: 2})
	failed := resultEvent{Pass: "sync", Verified: "none", Losses: []lossEvent{{Kind: "x", Count: 1}}, Error: ptr("disk full"), Code: ptr("FERRY-TARGET-FULL")}
	r.Result(failed)

	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 4 || notes.String() != "ferry: to a person\n" {
		t.Fatalf("%d lines:\n%s\nnotes: %s", len(lines), out.String(), notes.String())
	}
	result := []string{"event", "ok", "pass", "files", "bytes", "bytes_read", "bytes_sent", "bytes_saved", "seconds", "mbps",
		"compress_rate", "verified", "differences", "losses", "error", "code"}
	for i, want := range [][]string{
		{"event", "subtask", "phase", "percent", "bytes", "total", "files", "mbps", "compress_rate", "remain_seconds"},
		nil,
		append(slices.Clone(result), "backlog", "churn_mbps", "forecast_seconds"),
		result,
	} {
		if got := keys(t, lines[i]); want != nil && !slices.Equal(got, want) {
			t.Errorf("line %d has %v, want %v", i, got, want)
		}
	}
	for i, want := range []string{
		`{"event":"progress","subtask":"MIGRATE_LINUX_FILE","phase":"copy","percent":41,`, `"remain_seconds":null}`, `{"event":"pass","ok":true,`,
		`{"event":"result","ok":false,"pass":"sync","files":0,"bytes":0,"bytes_read":0,"bytes_sent":0,"bytes_saved":0,"seconds":0,"mbps":0,"compress_rate":0,` +
			`"verified":"none","differences":0,"losses":[{"kind":"x","count":1,"sample":[],"remedy":""}],"error":"disk full","code":"FERRY-TARGET-FULL"}`,
	} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: %s\nwant %s", i, lines[i], want)
		}
	}
	if !strings.Contains(lines[2], `"error":null,"code":null`) {
		t.Error(lines[2])
	}
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	r := newPlainRenderer(&out)
	clock := time.Unix(0, 0)
	r.every.now = func() time.Time { return clock }
	for range 21 { // 10 s
		r.Progress(someProgress())
		clock = clock.Add(500 * time.Millisecond)
	}
	next := someProgress()
	next.Phase, next.Total, next.RemainSeconds = "verify", 0, nil
	r.Progress(next) // other work shows at once
	r.Note("a note")
	r.Pass(passEvent{resultEvent: someResult(), Backlog: 5 << 20, ChurnMbps: 8, ForecastSeconds: 2})
	r.Result(someResult())
	line := "copy: 41 %, 1.50 GiB of 1023 GiB, 123,456 files, 118 MB/s, 62 % of the size on the wire, 10:00:00 left\n"
	want := strings.Repeat(line, 3) + `verify: 1.50 GiB, 123,456 files, 118 MB/s, 62 % of the size on the wire
a note
pass done: 100,000 files, 410 MiB sent in 12.3 s; 5.00 MiB changed since (1.00 MB/s), a cutover now would take about 2 s
Done: first copy of 100,000 files, 820 MiB in 12.3 s (66.6 MB/s).
Read 821 MiB, sent 410 MiB (50 % of the size after compression); 12.0 KiB were on the target already.
Verified (full): no difference.
Not kept: security.selinux, 3 times: /a\x0ab\x1b[2J, /\xff …
  Mount the target with SELinux.
Next: ferry migrate /srv --to host --sync
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestSummaryOfFailure(t *testing.T) {
	e := resultEvent{Pass: "resume", Verified: "full", Differences: 1234, Notes: []string{"The copy of a live tree is not one instant."}}
	got := summary(&e)
	for _, want := range []string{"Not done: resumed copy of 0 files", "Verified (full): 1,234 differences FOUND.", "Note: The copy of"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got = summary(&resultEvent{OK: true, Verified: "none"}); !strings.Contains(got, "Not verified.") {
		t.Error(got)
	}
	if got = summary(&resultEvent{Seconds: 2}); got != "Not done after 2.0 s.\n" {
		t.Errorf("a run that came to nothing: %q", got)
	}
	if got = summary(&resultEvent{OK: true, Files: 5, Verified: "full"}); !strings.HasPrefix(got, "Done: 5 files, ") {
		t.Errorf("a verification: %q", got)
	}
}

// safeBuffer is a terminal that a test can read while it is drawn on.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

func TestTerminalBars(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out safeBuffer
		r := newTerminalRenderer(&out, colour, mpb.WithAutoRefresh(), mpb.WithWidth(80))
		r.Note("before")
		scan := progressEvent{Subtask: "MIGRATE_LINUX_FILE", Phase: "scan", Files: 12, CompressRate: 100}
		r.Progress(scan)
		r.Progress(someProgress())
		r.Note("beside")
		r.Pass(passEvent{resultEvent: someResult()})
		r.Progress(someProgress())
		failed := someResult()
		failed.OK = false
		r.Result(failed)
		text := out.String()
		if strings.Contains(text, "\x1b[32m") != colour {
			t.Errorf("colour %v: %q", colour, text)
		}
		plain := escapes.ReplaceAllString(text, "")
		for _, want := range []string{"before\n", "beside\n", "scan ", "copy ", "[", "41% 1.50 GiB/1023 GiB 123kf 118 MB/s 62% 10:00:00", "pass done:", "Not done: first copy"} {
			if !strings.Contains(plain, want) {
				t.Errorf("no %q in\n%s", want, plain)
			}
		}
		for _, line := range strings.Split(plain, "\n") {
			if strings.Contains(line, "[") && strings.Contains(line, "]") && utf8.RuneCountInString(strings.Trim(line, "\r")) > 80 {
				t.Errorf("wider than 80 columns: %q", line)
			}
		}
	}
}

func TestRendererIsChosen(t *testing.T) {
	if _, ok := newRenderer(&bytes.Buffer{}, &bytes.Buffer{}, true).(*jsonRenderer); !ok {
		t.Error("--json")
	}
	if _, ok := newRenderer(&bytes.Buffer{}, &bytes.Buffer{}, false).(*plainRenderer); !ok {
		t.Error("no file")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := newRenderer(f, f, false).(*plainRenderer); !ok {
		t.Error("a file is no terminal")
	}
}

func TestFormats(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 15 << 20: "15.0 MiB", 1 << 62: "4.00 EiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := formatCount(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0:00", 59: "0:59", 61: "1:01", 3661: "1:01:01"} {
		if got := formatSeconds(n); got != want {
			t.Errorf("%d s: %s, want %s", n, got, want)
		}
	}
	if widest := barText(&progressEvent{Percent: 100, Bytes: 1023 << 20, Total: 1023 << 30, Files: 9_999_999, Mbps: 8184, CompressRate: 100, RemainSeconds: ptr(int64(359_999))}); len(widest) > 58 {
		t.Errorf("%d columns: %q", len(widest), widest)
	}
}

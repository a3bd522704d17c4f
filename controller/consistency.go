package controller

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// updateConsistency serves POST /v3/tasks/{task_id}/consistency-result. The result replaces the one before.
func (s *Server) updateConsistency(r *http.Request, body []byte) (any, error) {
	var result smsapi.Consistency
	if err := smsapi.Decode(body, &result); err != nil {
		return nil, err
	}
	return nil, s.changeTask(r, func(_ *store.Tx, t *store.Task) error {
		t.Detail.Results = result.Results
		return nil
	}, "directories", len(result.Results))
}

// showConsistency serves GET /v3/tasks/{task_id}/consistency-result.
func (s *Server) showConsistency(r *http.Request, _ []byte) (any, error) {
	t, err := s.task(r)
	if err != nil {
		return nil, err
	}
	list := smsapi.ConsistencyList{TaskID: t.ID, Results: []string{}}
	for _, result := range t.Detail.Results {
		text, err := json.Marshal(result)
		if err != nil {
			return nil, fmt.Errorf("consistency result: %w", err)
		}
		list.Results = append(list.Results, string(text))
	}
	return list, nil
}

// exportHeader is the first line of an export. The documents name no columns; English is the only language they have.
var exportHeader = []string{
	"task_id", "source_id", "source_name", "dir_check", "num_total_files", "num_different_files", "num_target_miss_files", "num_target_more_files",
}

// exportConsistency serves POST /v3/tasks/consistency-results/export: a CSV file with a line per directory, or one without a directory
// for a task that was not verified. A task that does not exist is refused.
func (s *Server) exportConsistency(r *http.Request, body []byte) (any, error) {
	var request smsapi.ExportConsistency
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	var file bytes.Buffer
	out := csv.NewWriter(&file)
	lines := [][]string{exportHeader}
	err := s.store.View(r.Context(), func(tx *store.Tx) error {
		for _, one := range request.Tasks {
			t, err := tx.Task(one.TaskID)
			if err != nil {
				return notFound(err, one.TaskID)
			}
			lines = append(lines, exported(one, t.Detail.Results)...)
		}
		return nil
	})
	if err == nil {
		err = out.WriteAll(lines)
	}
	if err != nil {
		return nil, err
	}
	return download("consistency-results.csv", "text/csv; charset=utf-8", file.Bytes()), nil
}

// exported returns the lines of one task.
func exported(task smsapi.ExportedTask, results []smsapi.ConsistencyResult) (lines [][]string) {
	head := []string{plain(task.TaskID), plain(task.SourceID), plain(task.SourceName)}
	for _, c := range results {
		line := append([]string{}, head...)
		line = append(line, plain(c.Directory))
		for _, n := range []int32{c.Total, c.Different, c.TargetLacks, c.TargetExtra} {
			line = append(line, strconv.Itoa(int(n)))
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		lines = append(lines, append(head, "", "", "", "", ""))
	}
	return lines
}

// plain keeps a spreadsheet from taking a text for a formula.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// download returns a file as the answer of an operation.
func download(name, contentType string, data []byte) reply {
	return reply{body: data, header: http.Header{
		"Content-Type":        {contentType},
		"Content-Disposition": {`attachment; filename="` + name + `"`},
	}}
}

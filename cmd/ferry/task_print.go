package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// print writes tasks as a table, or as JSON lines.
func (f *taskFlags) print(out io.Writer, tasks []smsapi.ListedTask) error {
	if f.json {
		encoder := json.NewEncoder(out)
		for _, t := range tasks {
			if err := encoder.Encode(t); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSTATE\tSUBTASK\tMBIT/S\tCREATED")
	for _, t := range tasks {
		name, percent := "-", 0
		for _, s := range t.Subtasks {
			if s.StartDate != nil {
				name, percent = string(s.Name), s.Progress
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s %d%%\t%.1f\t%s\n", t.ID, t.Name, t.State, name, percent, t.MigrateSpeed, local(&t.CreateDate))
	}
	return table.Flush()
}

// printOne writes one task in full.
func (f *taskFlags) printOne(out io.Writer, t smsapi.Task) error {
	if f.json {
		return json.NewEncoder(out).Encode(t)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "task\t%s\nname\t%s\nstate\t%s\ntype\t%s\n", t.ID, t.Name, t.State, t.Type)
	fmt.Fprintf(table, "created\t%s\nstarted\t%s\nfinished\t%s\n", local(&t.CreateDate), local(t.StartDate), local(t.FinishDate))
	fmt.Fprintf(table, "speed\t%.1f Mbit/s\ntotal time\t%s\n", t.MigrateSpeed, time.Duration(t.TotalTime)*time.Millisecond)
	if t.RemainSeconds != nil {
		fmt.Fprintf(table, "remaining\t%s\n", time.Duration(*t.RemainSeconds)*time.Second)
	}
	if t.ErrorJSON != "" {
		fmt.Fprintf(table, "error\t%s\n", errorText(t.ErrorJSON))
	}
	fmt.Fprintln(table, "\nSUBTASK\tPROGRESS\tSTARTED\tENDED\tDETAIL")
	for _, s := range t.Subtasks {
		fmt.Fprintf(table, "%s\t%d%%\t%s\t%s\t%s\n", s.Name, s.Progress, local(s.StartDate), local(s.EndDate), cmp.Or(traceText(s.ProcessTrace), "-"))
	}
	return table.Flush()
}

func (f *taskFlags) printLine(out io.Writer, line string, t smsapi.Task) error {
	if f.json {
		return json.NewEncoder(out).Encode(t)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// watchLine says in one line where a task is.
func watchLine(t smsapi.Task) string {
	line := string(t.State)
	for _, s := range t.Subtasks {
		if s.StartDate != nil && s.EndDate == nil {
			line += fmt.Sprintf("  %s %d%%  %.1f Mbit/s", s.Name, s.Progress, t.MigrateSpeed)
		}
	}
	if works := t.State == smsapi.StateRunning || t.State == smsapi.StateSyncing; works && t.Connected != nil && !*t.Connected {
		line += "  (the agent was not heard of for a minute)"
	}
	if t.RemainSeconds != nil {
		line += "  " + (time.Duration(*t.RemainSeconds) * time.Second).String() + " left"
	}
	return line
}

// local formats Unix milliseconds for a person here.
func local(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return time.UnixMilli(*ms).Format(time.DateTime)
}

// traceText says a process_trace in words; one that is not Ferry's as it is.
func traceText(text *string) string {
	if text == nil {
		return ""
	}
	trace, ok := smsapi.ParseTrace(*text)
	if !ok {
		return *text
	}
	var parts []string
	if trace.Phase != "" {
		parts = append(parts, trace.Phase)
	}
	if trace.Files > 0 {
		parts = append(parts, fmt.Sprintf("%d files", trace.Files))
	}
	if trace.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", trace.Attempt))
	}
	if trace.Error != "" {
		parts = append(parts, trace.Error)
	}
	return strings.Join(parts, ", ")
}

// errorText says an error_json in words; one that is not of the API's shape as it is.
func errorText(text string) string {
	var e smsapi.Error
	if json.Unmarshal([]byte(text), &e) != nil || e.Message == "" {
		return text
	}
	if e.Code == "" {
		return e.Message
	}
	return e.Error()
}

package smsapi_test

import (
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestUnits(t *testing.T) {
	require.InDelta(t, 8.0, smsapi.Mbps(1_000_000), 0)
	require.InDelta(t, 0.01, smsapi.Mbps(1234), 0)
	require.InDelta(t, 10000, smsapi.Mbps(math.MaxInt64), 0)
	require.Zero(t, smsapi.Mbps(-1))
	require.Equal(t, int64(12_500_000), smsapi.BytesPerSecond(100))
	require.Equal(t, int64(2), smsapi.Seconds(1001*time.Millisecond))
	require.Equal(t, int64(math.MaxInt32), smsapi.Seconds(math.MaxInt64))
	require.Zero(t, smsapi.Seconds(-time.Hour))
	require.Nil(t, smsapi.Millis(time.Time{}))
	require.Equal(t, int64(1598435778000), *smsapi.Millis(time.Unix(1598435778, 0)))
}

func TestTaskQuery(t *testing.T) {
	for query, want := range map[string]smsapi.TaskQuery{
		"":        {Limit: 100},
		"limit=0": {},
		"limit=200&offset=65535&state=RUNNING&name=n&id=i&source_server_id=s&enterprise_project_id=e&other=1": {
			Limit: 200, Offset: 65535, State: smsapi.StateRunning, Name: "n", ID: "i", SourceServerID: "s", EnterpriseProjectID: "e",
		},
	} {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		got, err := smsapi.ParseTaskQuery(values)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := smsapi.ParseTaskQuery(got.Values())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, query := range []string{
		"limit=201", "limit=-1", "limit=x", "limit=99999999999999999999", "offset=65536", "offset=-1", "state=DANCING",
		"name=" + strings.Repeat("x", 256), "id=" + strings.Repeat("x", 256),
		"source_server_id=" + strings.Repeat("x", 256), "enterprise_project_id=" + strings.Repeat("x", 256),
	} {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		_, err = smsapi.ParseTaskQuery(values)
		var e *smsapi.Error
		require.ErrorAs(t, err, &e, "%.30s", query)
	}
}

func TestTaskName(t *testing.T) {
	require.Equal(t, "usr-share--tmp-copy", smsapi.TaskName("usr/share: tmp copy"[:9]+"--tmp-copy"))
	require.Equal(t, "迁移任务_1", smsapi.TaskName("迁移任务_1"))
	require.Equal(t, "a-b", smsapi.TaskName("a\xffb"))
	require.Len(t, smsapi.TaskName(strings.Repeat("x", 300)), 255)
	require.NoError(t, smsapi.CheckTaskName("MigrationTask"))
	var e *smsapi.Error
	require.ErrorAs(t, smsapi.CheckTaskName("a b"), &e)
	require.Equal(t, smsapi.CodeTaskName, e.Code)
}

// Whatever an error says, the trace and the error_json it becomes stay within the API's limits and say the beginning of it.
func TestTraceIsBounded(t *testing.T) {
	for _, filler := range []string{"x", "\x00", "\"", "文", "\xff", "<"} {
		trace := smsapi.Trace{
			Phase: strings.Repeat(filler, 9000), Outcome: smsapi.OutcomeFailed, Code: strings.Repeat(filler, 9000),
			Error: "disk full " + strings.Repeat(filler, 9000), Remedy: strings.Repeat(filler, 9000),
		}
		text := trace.String()
		require.LessOrEqual(t, utf8.RuneCountInString(text), smsapi.MaxTrace)
		parsed, ok := smsapi.ParseTrace(text)
		require.True(t, ok)
		require.Equal(t, smsapi.OutcomeFailed, parsed.Outcome)
		require.Contains(t, parsed.Error, "disk full")
		require.LessOrEqual(t, utf8.RuneCountInString(trace.ErrorJSON()), 1024)
		require.Contains(t, trace.ErrorJSON(), "disk full")
		require.True(t, json.Valid([]byte(trace.ErrorJSON())))
	}
	for _, text := range []string{"", "rsync: 41% done", `{"files":"many"}`, "[]"} {
		trace, ok := smsapi.ParseTrace(text)
		require.False(t, ok, text)
		require.Equal(t, smsapi.Trace{}, trace)
	}
	require.Equal(t, "{}", smsapi.Trace{}.String())
}

package smsapi_test

import (
	"encoding/json"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// The only published examples of commands, of the API's first version.
func TestExampleCommands(t *testing.T) {
	for text, want := range map[string]smsapi.Command{
		`{"command_name":"START","command_param":{"task_id":"2c0689c860ad4728a497c91ec0844384"}}`: {
			Name: smsapi.CommandStart, Param: &smsapi.CommandParam{Task: "2c0689c860ad4728a497c91ec0844384"},
		},
		`{"command_name":"UPLOAD_LOG","command_param":{"bucket":"logbucket","object":""}}`: {
			Name: smsapi.CommandUploadLog, Param: &smsapi.CommandParam{Bucket: "logbucket"},
		},
		`{}`:                       {},
		`{"command_name":"DANCE"}`: {Name: "DANCE"},
	} {
		var got smsapi.Command
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, want, got)
	}
	require.False(t, smsapi.TaskHasStopped.Known(), "nobody answers it")
}

func TestDecodeCommandResult(t *testing.T) {
	const example = `{"command_name":"START","result":"success","result_detail":{"key1":"value1","key2":"value2"}}`
	var got smsapi.CommandResult
	require.NoError(t, smsapi.Decode([]byte(example), &got))
	again, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, example, string(again))

	for body, code := range map[string]string{
		`{"result":"success","result_detail":{}}`:                                smsapi.CodeInvalid,
		`{"command_name":"DANCE","result":"success","result_detail":{}}`:         smsapi.CodeCommand,
		`{"command_name":"TASK_NOT_STARTED","result":"fail","result_detail":{}}`: smsapi.CodeCommand,
		`{"command_name":"STOP","result":"maybe","result_detail":{}}`:            smsapi.CodeResult,
		`{"command_name":"STOP","result":"SUCCESS","result_detail":{}}`:          smsapi.CodeResult,
		`{"command_name":"STOP","result":"fail"}`:                                smsapi.CodeInvalid,
		`{"command_name":"STOP","result":"fail","result_detail":null}`:           smsapi.CodeInvalid,
		`{"command_name":"STOP","result":"fail","result_detail":"text"}`:         smsapi.CodeInvalid,
		`{"command_name":"STOP","result":"fail","result_detail":[1]}`:            smsapi.CodeInvalid,
	} {
		var e *smsapi.Error
		require.ErrorAs(t, smsapi.Decode([]byte(body), &smsapi.CommandResult{}), &e, body)
		require.Equal(t, code, e.Code, body)
	}
}

package dcsapi_test

import (
	"encoding/json"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/stretchr/testify/require"
)

// The answer of the documentation has no field that the types do not have, and nothing is lost or added on the way through them.
func TestExampleSurvivesTheTypes(t *testing.T) {
	text, err := os.ReadFile("testdata/show_migration_response.json")
	require.NoError(t, err)
	var m dcsapi.Migration
	require.NoError(t, json.Unmarshal(text, &m))
	again, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again))
	require.Equal(t, dcsapi.Terminating, m.Status)
}

func TestAddresses(t *testing.T) {
	for want, i := range map[string]dcsapi.Instance{
		"a:1":                {Addrs: "a:1", IP: "b", Port: "2", ID: "c:3"},
		"a:1,b:2":            {Addrs: "a:1,b:2"},
		"[::1]:6379":         {IP: "::1", Port: "6379"},
		"c:3":                {ID: "c:3"},
		"rediss://a?ca=/x":   {Addrs: "rediss://a?ca=/x"},
		"redis+sentinel://s": {Addrs: "redis+sentinel://s", DB: "255"},
	} {
		require.NoError(t, i.Check("x"), want)
		require.Equal(t, want, i.Address())
	}
	for _, i := range []dcsapi.Instance{
		{}, {ID: "86157b69-8a62-47f9-8c55-fa6ddc8927e1"}, {IP: "a"}, {Addrs: "a"}, {Addrs: "a:0"}, {Addrs: "a:65536"}, {Addrs: ":1"}, {Addrs: "a:1,"},
		{Addrs: "redis://p@a"}, {Addrs: "a:1", DB: "-1"}, {Addrs: "a:1", DB: "256"}, {Addrs: "a:1", DB: "x"},
	} {
		require.ErrorContains(t, i.Check("x"), "x.", i)
	}
	shown := dcsapi.Instance{ID: "c:3", Password: "secret"}.Shown()
	require.Equal(t, dcsapi.Instance{ID: "c:3", Addrs: "c:3", IP: "c", Port: "3", Password: dcsapi.Masked}, shown)
}

func TestFiles(t *testing.T) {
	b := &dcsapi.BackupFiles{BucketName: "b", Files: []dcsapi.File{{Name: "d/x 1.rdb"}, {Name: "https://h/y?sign=secret"}}}
	require.Equal(t, []string{"s3://b/d/x 1.rdb", "https://h/y?sign=secret"}, b.Names())
	require.Equal(t, "https://h/y", b.Shown().Files[1].Name)
	require.Equal(t, "https://h/y?sign=secret", b.Files[1].Name)
	b.BucketName = "http://store/b/"
	require.Equal(t, "http://store/b/d/x%201.rdb", b.Names()[0])
	require.Nil(t, (*dcsapi.BackupFiles)(nil).Shown())
}

func TestUnits(t *testing.T) {
	n, err := dcsapi.Bandwidth("10240")
	require.NoError(t, err)
	require.EqualValues(t, 10240<<20, n)
	n, err = dcsapi.Bandwidth("")
	require.NoError(t, err)
	require.Zero(t, n)
	at := time.Date(2019, 10, 22, 22, 44, 30, 449e6, time.FixedZone("", 8*3600))
	require.Equal(t, "2019/10/22 14:44:30", dcsapi.Time(at))
	require.Equal(t, "2019-10-22T14:44:30.449Z", dcsapi.LogTime(at))
	q, err := dcsapi.ParseListQuery(url.Values{"limit": {"3"}, "offset": {"4"}, "log_level": {"error"}, "name": {"n"}, "other": {"x"}})
	require.NoError(t, err)
	require.Equal(t, dcsapi.ListQuery{Name: "n", Level: dcsapi.Error, Limit: 3, Offset: 4}, q)
}

package smsapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestAuthRequest(t *testing.T) {
	for body, good := range map[string]bool{
		// The two forms that clients of the service send.
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","password":"p","domain":{"name":"d"}}}},"scope":{"domain":{"name":"d"}}}}`: true,
		`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":"a"},"secret":{"key":"s"}}},"scope":{"project":{"name":"cn-north-4"}}}}`:      true,
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","password":"p"}}}}}`:                                                       true,
		`{}`:          false,
		`{"auth":{}}`: false,
		`{"auth":{"identity":{"methods":["saml2"]}}}`:                                                                                   false,
		`{"auth":{"identity":{"methods":["password","hw_ak_sk"]}}}`:                                                                     false,
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u"}}}}}`:                                               false,
		`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":"a"}}}}}`:                                              false,
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","password":"` + strings.Repeat("x", 256) + `"}}}}}`: false,
	} {
		var request smsapi.AuthRequest
		err := smsapi.Decode([]byte(body), &request)
		require.Equal(t, good, err == nil, "%s: %v", body, err)
	}
}

func TestNameIDFits(t *testing.T) {
	require.True(t, (*smsapi.NameID)(nil).Fits("i", "n"))
	require.True(t, (&smsapi.NameID{ID: "i"}).Fits("i", "n"))
	require.True(t, (&smsapi.NameID{Name: "n"}).Fits("i", "n"))
	require.False(t, (&smsapi.NameID{}).Fits("i", "n"), "one that names nothing is not one that is absent")
	require.False(t, (&smsapi.NameID{ID: "i", Name: "other"}).Fits("i", "n"))
	require.False(t, (&smsapi.NameID{ID: "other", Name: "n"}).Fits("i", "n"))
}

func TestIAMTime(t *testing.T) {
	at := time.Date(2020, 1, 3, 5, 27, 58, 654_000_000, time.UTC)
	require.Equal(t, smsapi.IAMTime("2020-01-03T05:27:58.654000Z"), smsapi.NewIAMTime(at.In(time.FixedZone("", 3600))))
	for _, text := range []smsapi.IAMTime{"2020-01-03T05:27:58.654000Z", "2020-01-03T05:27:58.654Z"} {
		got, err := text.Time()
		require.NoError(t, err)
		require.True(t, at.Equal(got))
	}
	_, err := smsapi.IAMTime("tomorrow").Time()
	require.Error(t, err)
}

func TestCheckToken(t *testing.T) {
	require.Error(t, smsapi.CheckToken(""))
	require.NoError(t, smsapi.CheckToken(strings.Repeat("x", 16384)))
	require.Error(t, smsapi.CheckToken(strings.Repeat("x", 16385)))
}

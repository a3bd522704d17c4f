package resp_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// FuzzReply reads anything as replies.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n:1\r\n*1\r\n+x\r\n", "*-1\r\n", "$99999999\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := resp.NewReader(bytes.NewReader(b))
		for {
			if _, err := r.Reply(); err != nil {
				return
			}
		}
	})
}

// FuzzCommand reads anything as commands: the raw bytes are those that came, and the arguments written again are the same.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "\n", "PING\r\n", "*0\r\n", "*1\r\n$1048576\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := resp.NewReader(bytes.NewReader(b))
		n := 0
		for {
			raw, args, err := r.Command(nil, nil)
			if err != nil {
				return
			}
			require.Equal(t, b[n:n+len(raw)], raw)
			n += len(raw)
			if raw[0] != '*' {
				continue
			}
			_, again, err := resp.NewReader(bytes.NewReader(resp.AppendCommand(nil, args...))).Command(nil, nil)
			require.NoError(t, err)
			require.Equal(t, len(args), len(again))
			for i := range args {
				require.Equal(t, args[i], again[i])
			}
		}
	})
}

func TestReplyBounds(t *testing.T) {
	for _, s := range []string{"$2147483648\r\n", "*999999999\r\n", "x\r\n", "$1\r\nabc", ":1x\r\n", strings.Repeat("*1\r\n", 50), ":\r\n"} {
		_, err := resp.NewReader(strings.NewReader(s)).Reply()
		require.ErrorIs(t, err, resp.ErrProtocol, s)
	}
}

func TestParseEndpoint(t *testing.T) {
	for url, want := range map[string]resp.Endpoint{
		"redis://host":                        {Network: "tcp", Addrs: []string{"host:6379"}},
		"redis://a:1,b,[::1]:7/3":             {Network: "tcp", Addrs: []string{"a:1", "b:6379", "[::1]:7"}, DB: 3},
		"redis://user:p%40ss@host:1/":         {Network: "tcp", Addrs: []string{"host:1"}, User: "user", Password: "p@ss"},
		"redis://secret@host":                 {Network: "tcp", Addrs: []string{"host:6379"}, Password: "secret"},
		"redis://:secret@host":                {Network: "tcp", Addrs: []string{"host:6379"}, Password: "secret"},
		"redis+sentinel://:secret@a,b:1/main": {Network: "tcp", Addrs: []string{"a:26379", "b:1"}, Password: "secret", Master: "main"},
		"unix:///run/redis.sock?db=2":         {Network: "unix", Addrs: []string{"/run/redis.sock"}, DB: 2},
		"unix://user:secret@/run/redis.sock":  {Network: "unix", Addrs: []string{"/run/redis.sock"}, User: "user", Password: "secret"},
	} {
		e, err := resp.ParseEndpoint(url)
		require.NoError(t, err, url)
		require.Equal(t, want, e, url)
		require.NotContains(t, e.String(), "secret")
	}
	for _, url := range []string{"", "host", "http://host", "redis://", "redis://host/x", "unix://", "redis+sentinel://h", "redis://u:secret@host:1/%zz", "rediss://h?ca=/missing"} {
		_, err := resp.ParseEndpoint(url)
		require.Equal(t, "FERRY-REDIS-URL", fault.CodeOf(err), url)
		require.NotContains(t, err.Error(), "secret")
	}
}

package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/redis"
)

// TestMigrate moves every kind of value and judges by Redis' own digest, diskless and by a file.
func TestMigrate(t *testing.T) {
	for _, diskless := range []string{"yes", "no"} {
		t.Run("diskless "+diskless, func(t *testing.T) {
			from, to := serve(t, "--repl-diskless-sync", diskless), serve(t)
			from.fill()
			m := migrate(t, redis.Config{From: from.at, To: to.at, Once: true})
			same(t, from, to)
			require.Equal(t, "1", to.run("FCALL", "f", "1", "counter").Text())
			require.Equal(t, from.run("XINFO", "STREAM", "stream", "FULL"), to.run("XINFO", "STREAM", "stream", "FULL"))
			require.Equal(t, from.do("PEXPIRETIME soon"), to.do("PEXPIRETIME soon"))
			p := m.Progress()
			require.EqualValues(t, p.KeysTotal, p.Keys)
			require.Empty(t, p.Losses)
		})
	}
}

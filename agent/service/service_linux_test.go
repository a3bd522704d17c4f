package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/packaging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSystemd is the socket that systemd gives to a service. The test reads what it is told.
func fakeSystemd(t *testing.T, watchdog string) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", watchdog)
	t.Setenv("WATCHDOG_PID", "")
	return func() string {
		message := make([]byte, 4096)
		n, err := conn.Read(message)
		require.NoError(t, err)
		return string(message[:n])
	}
}

// systemd hears that the service is ready, alive and stops, in this order.
func TestRunTellsSystemd(t *testing.T) {
	hear := fakeSystemd(t, "3000") // 3 ms
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	failed := errors.New("the end")
	go func() {
		ended <- Run(ctx, func(ctx context.Context, ready func(func() string)) error {
			ready(func() string { return "at work" })
			<-ctx.Done()
			return failed
		})
	}()
	require.Equal(t, "READY=1\nSTATUS=at work", hear())
	require.Equal(t, "WATCHDOG=1\nSTATUS=at work", hear())
	stop()
	for hear() != "STOPPING=1" {
	}
	require.ErrorIs(t, <-ended, failed)
}

// A service that cannot say what it does is not alive: the watchdog hears nothing more.
func TestWatchdogHearsNothingFromTheDead(t *testing.T) {
	hear := fakeSystemd(t, "3000")
	ctx, stop := context.WithCancel(t.Context())
	asked, dead := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, func(ctx context.Context, ready func(func() string)) error {
			calls := 0
			ready(func() string {
				if calls++; calls == 2 {
					close(asked)
					<-dead
				}
				return "at work"
			})
			<-ctx.Done()
			close(dead)
			return nil
		})
	}()
	require.Equal(t, "READY=1\nSTATUS=at work", hear())
	<-asked
	stop()
	require.Equal(t, "STOPPING=1", hear(), "nothing was told between")
	require.NoError(t, <-ended)
}

func TestRunWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	require.NoError(t, Run(t.Context(), func(_ context.Context, ready func(func() string)) error {
		ready(func() string { return "" })
		return nil
	}))
}

func TestLimitsAsDropIn(t *testing.T) {
	require.Empty(t, Limits{}.dropIn())
	require.Contains(t, Limits{CPUWeight: 50, MemoryMax: 1 << 30}.dropIn(), "[Service]\nCPUWeight=50\nMemoryMax=1073741824\n")
	require.Contains(t, Limits{IOWeight: 7}.dropIn(), "[Service]\nIOWeight=7\n")
}

// The journal gets the text for people and the attributes for searching.
func TestLogHandler(t *testing.T) {
	type told struct {
		level  slog.Level
		line   string
		fields []field
	}
	var all []told
	level := &slog.LevelVar{}
	log := slog.New(&logHandler{level: level, send: func(level slog.Level, line string, fields []field) error {
		all = append(all, told{level, line, fields})
		return nil
	}})
	log.Debug("not this")
	log.With("task", "t1").WithGroup("disk").Warn("slow", "name", "sd a", slog.Group("io", "wait", 7), "", "no key")
	require.Equal(t, []told{{slog.LevelWarn, `slow task=t1 disk.name="sd a" disk.io.wait=7`, []field{{"task", "t1"}, {"disk.name", "sd a"}, {"disk.io.wait", "7"}}}}, all)
	require.Equal(t, "FERRY_DISK_IO_WAIT", journalField("disk.io-wait"))
	require.Len(t, journalField(string(make([]byte, 100))), 64)
}

// The unit that a package brings and the one that install writes are one.
func TestUnit(t *testing.T) {
	unit := packaging.SystemdUnit("/usr/bin/ferry", "/etc/ferry/agent.yaml")
	require.Contains(t, unit, "\nExecStart=/usr/bin/ferry agent run --service --config /etc/ferry/agent.yaml\n")
	odd := packaging.SystemdUnit("/opt/100%/my ferry", `/etc/"x"/$a`)
	require.Contains(t, odd, "\nExecStart=\"/opt/100%%/my ferry\" agent run --service --config \"/etc/\\\"x\\\"/$$a\"\n")
	require.NotContains(t, odd, "/usr/bin/ferry")
	script := packaging.OpenRCScript(`/opt/a b/ferry`, "/etc/$x.yaml")
	require.Contains(t, script, "command=\"/opt/a b/ferry\"\nconfig=\"/etc/\\$x.yaml\"\n")
}

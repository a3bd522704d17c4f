package agent

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/reporter/report"
)

type windowsControls struct{}

func (windowsControls) Status() report.Report { return report.Report{Task: "task", Percent: 41} }
func (windowsControls) SetLimit(string) error { return nil }
func (windowsControls) Cutover() error        { return nil }
func (windowsControls) Stop() error           { return nil }

// Only who knows the secret in the state directory is answered.
func TestControlNeedsTheSecret(t *testing.T) {
	dir, err := os.MkdirTemp("", "control") // wine 8 cannot remove as t.TempDir would
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	server, err := ServeControl(dir, windowsControls{}, quiet)
	require.NoError(t, err)
	status, err := DialControl(dir).Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 41, status.Percent)

	text, err := os.ReadFile(ControlPath(dir))
	require.NoError(t, err)
	address, _, _ := strings.Cut(string(text), " ")
	for _, secret := range []string{"", strings.Repeat("0", secretSize), "GET /status HTTP/1.1\r\nHost: control\r\n\r\n" + strings.Repeat("x", secretSize)} {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = io.WriteString(conn, secret+"GET /status HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answer, _ := io.ReadAll(conn) // it is cut off
		require.NotContains(t, string(answer), "41")
		conn.Close()
	}
	require.NoError(t, server.Close())
	require.NoFileExists(t, ControlPath(dir))
}

// Package redis gives a test redis-server processes of its own, each in a directory and on a port of its own, gone with the test.
package redis

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Server is a running redis-server.
type Server struct {
	Addr   string // host:port
	Socket string // path
	Dir    string // where it saves

	t        testing.TB
	cmd      *exec.Cmd
	password string
}

// Start starts a server; options are as on its command line. Without redis-server the test is skipped.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	dir, err := os.MkdirTemp("", "fr") // short: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, Dir: dir, Socket: filepath.Join(dir, "s")}
	if i := slices.Index(options, "--requirepass"); i >= 0 {
		s.password = options[i+1]
	}
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	s.Restart(options...)
	return s
}

// Restart starts a server that was killed once more, in its directory and on another port. It has what was saved.
func (s *Server) Restart(options ...string) {
	s.t.Helper()
	var log string
	for range 5 { // another process may take the port meanwhile
		if log = s.start(options); log == "" {
			return
		}
	}
	s.t.Fatalf("redis-server did not start:\n%s", log)
}

// start starts the server and waits until it takes connections; what it said if it does not.
func (s *Server) start(options []string) (log string) {
	s.t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.Addr = free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(s.Addr)
	s.cmd = exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--dir", s.Dir,
		"--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"}, options...)...)
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		log += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "eady to accept connections unix") || strings.Contains(lines.Text(), "connections at "+s.Socket) {
			go func() {
				for lines.Scan() { // or the server stops when the pipe is full
				}
			}()
			return ""
		}
	}
	_ = s.cmd.Wait()
	return log
}

// Kill kills the server.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Dial returns a connection that ends with the test.
func (s *Server) Dial() *resp.Conn {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *Server) dial() (*resp.Conn, error) {
	return resp.Dial(context.Background(), resp.Endpoint{Network: "unix", Addrs: []string{s.Socket}, Password: s.password}, resp.Options{})
}

// Do runs a command, words separated by spaces, and returns its text.
func (s *Server) Do(line string) string {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Do(strings.Fields(line)...)
	if err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	return r.Text()
}

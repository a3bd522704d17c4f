// Package storetest gives tests a PostgreSQL of their own: Debian's, started once per test program in a temporary directory, on
// loopback, as another user than root, and stopped at its end. Every test gets an empty database.
//
// What is synced to disk there is not: it outlives a killed client, not a killed machine.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// Main runs the tests of a package, as its TestMain, then stops PostgreSQL if one of them started it and fails when goroutines
// are left.
func Main(m *testing.M) {
	code := m.Run()
	if err := server.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "PostgreSQL:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Postgres returns the address of an empty database. It skips the test where PostgreSQL is not installed.
func Postgres(t testing.TB) string {
	t.Helper()
	server.once.Do(server.start)
	var missing missingError
	if errors.As(server.err, &missing) {
		t.Skip(server.err)
	}
	if server.err != nil {
		t.Fatal(server.err)
	}
	name := "t" + strings.ToLower(rand.Text())
	db, err := pgx.Connect(t.Context(), server.address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(t.Context(), "CREATE DATABASE "+name)
	if err := errors.Join(err, db.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return server.address(name)
}

// missingError says what is not installed.
type missingError string

func (e missingError) Error() string { return string(e) }

// server is the one PostgreSQL of this program.
var server cluster

// A cluster is a PostgreSQL server with its data.
type cluster struct {
	once     sync.Once
	err      error
	dir      string // holds data, password and log; gone when it is stopped
	bin      string
	as       []string // runs a program as the user that owns dir
	password string
	port     int
}

const startTimeout = 2 * time.Minute

// ports is how many ports are tried: between choosing one and using it somebody else may take it.
const ports = 5

func (c *cluster) start() { c.err = c.make() }

func (c *cluster) make() (err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return missingError("PostgreSQL is not installed (Debian package postgresql)")
	}
	c.bin = filepath.Dir(found[len(found)-1])
	if c.dir, err = os.MkdirTemp("", "ferry-postgres-"); err != nil {
		return err
	}
	if err := c.chooseUser(); err != nil {
		return err
	}
	c.password = rand.Text()
	if err := os.WriteFile(filepath.Join(c.dir, "password"), []byte(c.password), 0o644); err != nil { // dir is 0700
		return err
	}
	if err := c.run("initdb", "-D", c.data(), "-U", "ferry", "--pwfile", filepath.Join(c.dir, "password"),
		"--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C"); err != nil {
		return err
	}
	for range ports {
		if c.port, err = freePort(); err != nil {
			return err
		}
		options := fmt.Sprintf("-p %d -k %s -c listen_addresses=127.0.0.1 -c fsync=off -c deadlock_timeout=20ms -c max_connections=200", c.port, c.dir)
		if err = c.run("pg_ctl", "start", "-w", "-D", c.data(), "-l", filepath.Join(c.dir, "log"), "-o", options); err == nil {
			return nil
		}
	}
	text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	return fmt.Errorf("%w\n%s", err, text)
}

// chooseUser makes dir belong to a user that PostgreSQL agrees to run as.
func (c *cluster) chooseUser() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return missingError("there is no user postgres to run PostgreSQL as")
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	c.as = []string{"runuser", "-u", u.Username, "--"}
	return os.Chown(c.dir, uid, gid)
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	argv := slices.Concat(c.as, []string{filepath.Join(c.bin, program)}, args)
	_, err := command.Run(ctx, slog.New(slog.DiscardHandler), argv...)
	return err
}

func (c *cluster) address(database string) string {
	return fmt.Sprintf("postgres://ferry:%s@127.0.0.1:%d/%s?sslmode=disable", c.password, c.port, database)
}

func (c *cluster) stop() error {
	if c.dir == "" {
		return nil
	}
	var err error
	if c.err == nil {
		err = c.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", c.data())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

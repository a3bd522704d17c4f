package resp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Endpoint says where a server is and how to log in. It holds a secret: print it with String only.
type Endpoint struct {
	Network        string   // tcp or unix
	Addrs          []string // host:port, or the path of a socket; several are nodes of one system, tried in order
	Master         string   // not empty: Addrs are sentinels, to be asked for the master of this name
	User, Password string
	DB             int         // of those who look at one database; a migration moves all
	TLS            *tls.Config // nil: plain
}

const urlForm = "write redis://[user:password@]host[:port][,host:port…][/db], rediss:// for TLS (?ca=FILE&cert=FILE&key=FILE&server_name=NAME), unix:///path/of/socket, or redis+sentinel://sentinel[:port][,sentinel…]/master"

// ParseEndpoint reads the URL of a server. Its errors are the operator error FERRY-REDIS-URL and hold no password.
func ParseEndpoint(text string) (Endpoint, error) {
	e, err := parseEndpoint(text)
	if err != nil {
		return Endpoint{}, fault.Operator("FERRY-REDIS-URL", urlForm, fmt.Errorf("address of a Redis server: %w", err))
	}
	return e, nil
}

func parseEndpoint(text string) (Endpoint, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return Endpoint{}, errors.New("no scheme such as redis://")
	}
	// Several hosts are not a URL to net/url, so they are taken out first.
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil {
		return Endpoint{}, errors.New("not a URL") // net/url would repeat the password
	}
	e := Endpoint{Network: "tcp", User: u.User.Username()}
	e.Password, _ = u.User.Password()
	if e.Password == "" && e.User != "" && !strings.Contains(user, ":") {
		e.User, e.Password = "", e.User // redis://secret@host, as other clients read it
	}
	db := strings.Trim(u.Path, "/")
	switch scheme {
	case "redis":
		e.Addrs = addresses(hosts, "6379")
	case "rediss":
		e.Addrs = addresses(hosts, "6379")
		if e.TLS, err = tlsConfig(u.Query()); err != nil {
			return Endpoint{}, err
		}
	case "redis+sentinel":
		if e.Addrs, e.Master, db = addresses(hosts, "26379"), db, ""; e.Master == "" {
			return Endpoint{}, errors.New("no name of a master behind the sentinels")
		}
	case "unix":
		e.Network, e.Addrs, db = "unix", []string{u.Path}, u.Query().Get("db")
		if u.Path == "" {
			return Endpoint{}, errors.New("no path of a socket")
		}
	default:
		return Endpoint{}, fmt.Errorf("scheme %q", scheme)
	}
	if len(e.Addrs) == 0 {
		return Endpoint{}, errors.New("no host")
	}
	if db != "" {
		if e.DB, err = strconv.Atoi(db); err != nil || e.DB < 0 {
			return Endpoint{}, fmt.Errorf("database %q", db)
		}
	}
	return e, nil
}

// addresses splits hosts; port is for those that name none.
func addresses(hosts, port string) []string {
	var addrs []string
	for h := range strings.SplitSeq(hosts, ",") {
		if h == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), port)
		}
		addrs = append(addrs, h)
	}
	return addrs
}

func tlsConfig(q url.Values) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: q.Get("server_name")}
	if ca := q.Get("ca"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", ca)
		}
	}
	if cert := q.Get("cert"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, q.Get("key"))
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// At is the same login at another address of the same system.
func (e Endpoint) At(addr string) Endpoint {
	e.Addrs, e.Master = []string{addr}, ""
	return e
}

// String is the endpoint without its secrets.
func (e Endpoint) String() string {
	scheme := "redis"
	switch {
	case e.Network == "unix":
		scheme = "unix"
	case e.TLS != nil:
		scheme = "rediss"
	}
	if e.Master != "" {
		return "redis+sentinel://" + strings.Join(e.Addrs, ",") + "/" + e.Master
	}
	return scheme + "://" + strings.Join(e.Addrs, ",")
}

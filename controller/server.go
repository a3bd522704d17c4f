// Package controller is the other side of the SMS API: the control plane that ships with Ferry, alone or inside `ferry migrate`.
//
// It serves the operations of the route table, as package smsapi describes them. Every request proves its caller, also on loopback,
// because what a control plane orders runs as root: by a signature or by a token, see package iam. Who may call what is in the
// table, and an agent is kept to the sources that it registered and to their tasks. Errors are {"error_code","error_msg","request_id"}.
//
// Beside servers it knows migrations of Redis, by the operations of the DCS API, as package dcsapi describes them; their errors are
// {"error_code","error_msg","error_ext_msg"}. Machines, which are agents of a role of their own, take those that wait, say how far they
// are and are told what they are to do.
//
// Plain HTTP is for loopback only. Elsewhere it is TLS, with a certificate that was given or with one of its own authority, whose
// certificate lies in ca.pem beside the admin key. Headers, bodies, connections and the pace of each client are limited; what takes
// too long is cut off. /healthz, /readyz, /metrics and /openapi.json serve those who run it.
//
// A task is READY until somebody starts it, and waits for its source, registered or not. What users may ask of it in which state is
// one table (actions.go); a command tells its agent, at every poll until the agent has answered. The rest follows from the agent's
// answers and progress reports, as the service would infer it:
//
//	a report of a subtask                          RUNNING, or SYNCING if the subtask is a sync; an agent may begin without a command
//	every subtask is at 100 percent                SYNCING if the task keeps syncing, else MIGRATE_SUCCESS, unless the report
//	                                               carries a trace (smsapi.Trace), which tells the end itself
//	a trace with outcome "done"                    MIGRATE_SUCCESS, SYNC_SUCCESS after a restart
//	… "failed"                                     MIGRATE_FAIL or SYNC_FAIL, with error_json
//	… "stopped"                                    ABORT, and RUNNING or SYNCING again with the next report
//	any report while it is to stop, skip or go     as before: ABORTING, SKIPPING, DELETING end with the agent's answer
//
// Reports of one task are applied in the order they arrive; a repeated one changes nothing but the time of the last contact. Every
// change reads what it decides upon and writes it in one transaction, so of several that come at once, to whichever control plane of
// the database, one is legal and the others are told so.
package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// What one connection may take.
const (
	maxHeader    = 32 << 10 // bytes; a token has up to 16 KiB
	readTimeout  = time.Minute
	writeTimeout = time.Minute
	idleTimeout  = 2 * time.Minute
	closeTimeout = 5 * time.Second
)

// headerTimeout is how long a client may take to send its header, time to connect included.
var headerTimeout = 10 * time.Second // shorter in tests

// Files of a control plane, beside each other.
const (
	keyFileName     = "admin-key.json"
	sealingFileName = "sealing.key"
	caFileName      = "ca.pem"
)

// Config says where a control plane listens and what it keeps.
type Config struct {
	Listen  string           // host:port; empty means a free port on loopback
	Store   string           // as store.Open takes it
	KeyFile string           // of the admin; empty means admin-key.json beside an SQLite database; made if it does not exist
	TLS     bool             // on loopback too
	Cert    string           // PEM file of a certificate, with CertKey; empty means one of the own authority where TLS is needed
	CertKey string           // PEM file of its key
	Names   []string         // that clients call this host by, besides its own name and addresses
	Rate    float64          // requests a second of one client; 0 means 500, less than 0 no limit
	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil means time.Now
}

// Server is a running control plane.
type Server struct {
	store      *store.DB
	identities *iam.Service
	key        smsapi.Key
	keyFile    string
	caFile     string // empty without an own authority
	log        *slog.Logger
	now        func() time.Time

	calls, logins, news *buckets
	metrics             *metrics
	openAPI             func() ([]byte, error) // made when somebody asks: it takes longer than all else that starts

	listener *turnstile
	secure   bool
	http     *http.Server
	stopping atomic.Bool
	served   chan struct{} // closed when the listener is
}

// Start opens the store, listens and serves in the background until Close. ctx bounds the start only.
func Start(ctx context.Context, c Config) (*Server, error) {
	s := &Server{keyFile: c.KeyFile, log: c.Log, now: c.Now, served: make(chan struct{})}
	if file, ok := strings.CutPrefix(c.Store, "sqlite:"); ok && s.keyFile == "" {
		s.keyFile = filepath.Join(filepath.Dir(file), keyFileName)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	s.calls, s.logins, s.news = newBuckets(c.Rate, int(c.Rate*burstFactor)), newBuckets(loginRate, loginBurst), newBuckets(newsRate, newsBurst)
	s.openAPI = sync.OnceValues(func() ([]byte, error) { return openAPI(routes) })
	var err error
	if s.store, err = store.Open(ctx, c.Store); err != nil {
		return nil, err
	}
	if err := s.open(ctx, c); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// open loads keys and certificates and begins to serve.
func (s *Server) open(ctx context.Context, c Config) (err error) {
	if s.key, err = loadKey(s.keyFile); err != nil {
		return err
	}
	if s.identities, err = OpenIdentities(ctx, s.store, s.keyFile, s.now); err != nil {
		return err
	}
	if err := s.identities.EnsureAdmin(ctx, s.key); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	certificates, err := s.certificates(ctx, c)
	if err != nil {
		return err
	}
	return s.listen(ctx, c.Listen, certificates)
}

// OpenIdentities returns the identity service of a database. The sealing key lies beside the admin key; it is made if the database
// is new. Errors: FERRY-SEALING-KEY if it is missing or not the one that the database was made with.
func OpenIdentities(ctx context.Context, db *store.DB, keyFile string, now func() time.Time) (*iam.Service, error) {
	path := filepath.Join(filepath.Dir(keyFile), sealingFileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		needed, err := iam.HasSecrets(ctx, db)
		if err != nil {
			return nil, err
		}
		if needed {
			return nil, fault.Operator("FERRY-SEALING-KEY", "put back the file, from a backup or from another controller of this database",
				fmt.Errorf("the database is sealed with a key that is not at %s", path))
		}
	}
	sealer, err := iam.LoadSealer(path)
	if err != nil {
		return nil, err
	}
	return iam.New(ctx, db, sealer, now)
}

// certificates returns what TLS needs, nil for plain HTTP.
func (s *Server) certificates(ctx context.Context, c Config) (certificates, error) {
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		return nil, fault.Operator("FERRY-LISTEN", "give --listen as HOST:PORT", err)
	case (c.Cert == "") != (c.CertKey == ""):
		return nil, fault.Operator("FERRY-TLS", "give both --tls-cert and --tls-key", errors.New("a certificate needs its key"))
	case c.Cert != "":
		return openCertificate(c.Cert, c.CertKey)
	case loopback(host) && !c.TLS:
		return nil, nil
	}
	own, err := loadAuthority(ctx, s.identities, s.now())
	if err != nil {
		return nil, err
	}
	s.caFile = filepath.Join(filepath.Dir(s.keyFile), caFileName)
	if err := durable.WriteFile(s.caFile, own.pem, 0o644); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return &ownCertificates{authority: own, names: ownNames(host, c.Names), now: s.now}, nil
}

func (s *Server) listen(ctx context.Context, address string, secure certificates) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fault.Operator("FERRY-LISTEN", "choose another address with --listen", err)
	}
	s.listener = newTurnstile(listener, func() { s.metrics.refused.WithLabelValues("crowded").Inc() })
	s.metrics = newMetrics(s.store, s.listener.open)
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	serve := net.Listener(s.listener)
	if secure != nil {
		s.secure = true
		serve = tls.NewListener(serve, tlsConfig(secure))
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(serve); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the control plane stopped", "error", err)
		}
	}()
	return nil
}

// URL returns the address that clients use, for example http://127.0.0.1:8899; one of this host's if it listens on all of them.
func (s *Server) URL() string {
	scheme := "http://"
	if s.secure {
		scheme = "https://"
	}
	address := s.listener.Addr().String()
	if tcp, ok := s.listener.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = net.JoinHostPort(hostAddress(), strconv.Itoa(tcp.Port))
	}
	return scheme + address
}

// hostAddress returns an address of this host that others may reach, else loopback.
func hostAddress() string {
	address := "127.0.0.1"
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return address
	}
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		switch {
		case !ok || !network.IP.IsGlobalUnicast():
		case network.IP.To4() != nil:
			return network.IP.String()
		case address == "127.0.0.1":
			address = network.IP.String()
		}
	}
	return address
}

// Key returns the admin key.
func (s *Server) Key() smsapi.Key { return s.key }

// KeyFile returns the path of the admin key.
func (s *Server) KeyFile() string { return s.keyFile }

// CAFile returns the path of the certificate of the own authority, by which clients know the server; empty if it has none.
func (s *Server) CAFile() string { return s.caFile }

// Close says that the server is not ready, finishes the requests under way, for five seconds at most, and closes the store.
func (s *Server) Close() error {
	s.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return errors.Join(err, s.store.Close())
}

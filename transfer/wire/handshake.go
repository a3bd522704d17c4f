package wire

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

const (
	kindWelcome = "welcome"
	kindProve   = "prove"
)

type welcome struct {
	Known bool `cbor:"known"`
}

type prove struct {
	Proof []byte `cbor:"proof"`
}

// Dial connects to the target at addr (host:port) and proves who both are. The returned connection carries no session yet: see Open.
//
// code is looked at only if one side does not know the other; it may be empty otherwise. Its errors: FERRY-PAIR-NEEDED, FERRY-PAIR-MALFORMED,
// FERRY-PAIR-TARGET (another machine answers), and from the target FERRY-PAIR-WRONG, FERRY-PAIR-USED. Errors of the network are temporary.
func Dial(ctx context.Context, addr string, id *Identity, peers *KnownPeers, code string, opt Options) (*Conn, error) {
	opt = opt.withDefaults()
	dialer := net.Dialer{Timeout: opt.Handshake}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, unreachable(fmt.Errorf("connect to target: %w", err))
	}
	l := newLink(raw, opt)
	c := &Conn{link: l, idle: opt.Idle}
	stop := c.CloseOn(ctx)
	defer stop()
	guest := &guest{addr: addr, id: id, peers: peers, code: code}
	if err := guest.enter(c, time.Now().Add(opt.Handshake)); err != nil {
		l.fail(err)
		return nil, err
	}
	return c, nil
}

// unreachable tells an address that leads nowhere from a target that may yet answer.
func unreachable(err error) error {
	var name *net.DNSError
	var form *net.AddrError
	if errors.As(err, &form) || errors.As(err, &name) && name.IsNotFound {
		return fault.Operator("FERRY-WIRE-ADDRESS", "Give the target as HOST or HOST:PORT.", err)
	}
	return fault.Temporary(err)
}

func tlsConfig(id *Identity) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{id.certificate},
		NextProtos:                  []string{"ferry"},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true, // bulk: full records from the start
	}
}

// peerKey returns the fingerprint of the key that the peer showed and TLS proved it holds.
func peerKey(state *tls.ConnectionState) (Fingerprint, error) {
	if len(state.PeerCertificates) == 0 {
		return Fingerprint{}, violation("peer without a certificate")
	}
	cert := state.PeerCertificates[0]
	if _, ok := cert.PublicKey.(ed25519.PublicKey); !ok {
		return Fingerprint{}, violation("peer certificate without an Ed25519 key")
	}
	return fingerprintOf(cert), nil
}

// secure runs the TLS handshake and then buffers the link below it.
func (c *Conn) secure(t *tls.Conn, deadline time.Time) (exporter []byte, err error) {
	if err := c.link.SetDeadline(deadline); err != nil {
		return nil, c.broken("handshake", err)
	}
	if err := t.Handshake(); err != nil {
		return nil, c.broken("handshake", foreign(err))
	}
	state := t.ConnectionState()
	if c.peer, err = peerKey(&state); err != nil {
		return nil, err
	}
	exporter, err = state.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		return nil, fault.Permanent(fmt.Errorf("handshake: %w", err))
	}
	c.tls, c.rw = t, t
	c.link.buffer()
	return exporter, nil
}

// foreign says it plainly when what answered speaks another protocol in the clear, such as SSH or HTTP.
func foreign(err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) {
		return err
	}
	for _, b := range record.RecordHeader {
		if b < ' ' || b > '~' {
			return err
		}
	}
	return fault.Operator("FERRY-WIRE-FOREIGN", "Check host and port: this is where `ferry target` has to listen.",
		fmt.Errorf("what answers is no ferry target, it says %q", record.RecordHeader[:]))
}

// guest is the source's side of the door.
type guest struct {
	addr  string
	id    *Identity
	peers *KnownPeers
	code  string

	pairing *PairingCode // parsed once somebody needs it
}

func (g *guest) enter(c *Conn, deadline time.Time) error {
	config := tlsConfig(g.id)
	config.InsecureSkipVerify = true // there is no authority to ask: recognise looks at the key instead
	config.VerifyConnection = func(state tls.ConnectionState) error { return g.recognise(&state) }
	exporter, err := c.secure(tls.Client(c.link, config), deadline)
	if err != nil {
		return err
	}
	var w welcome
	if err := c.expect(kindWelcome, &w); err != nil {
		return err
	}
	if !w.Known {
		if err := g.prove(c, exporter); err != nil {
			return err
		}
	}
	return g.peers.Add(c.peer, g.addr)
}

// recognise refuses every target that is neither known nor the one the code names.
func (g *guest) recognise(state *tls.ConnectionState) error {
	target, err := peerKey(state)
	if err != nil || g.peers.Has(target) {
		return err
	}
	if _, ok := g.peers.At(g.addr); ok && g.code == "" {
		return g.imposter("the target at " + g.addr + " shows another key than when it was enrolled")
	}
	return g.parse(target)
}

// parse makes sure that there is a code for target.
func (g *guest) parse(target Fingerprint) error {
	if g.code == "" {
		return fault.Operator("FERRY-PAIR-NEEDED", "Give the code that `ferry target` printed, with --pair.",
			fmt.Errorf("source and target at %s do not know each other", g.addr))
	}
	code, err := ParsePairingCode(g.code)
	if err != nil {
		return err
	}
	if code.target != target {
		return g.imposter("the target at " + g.addr + " shows another key than the pairing code says")
	}
	g.pairing = code
	return nil
}

func (g *guest) imposter(what string) error {
	return fault.Operator("FERRY-PAIR-TARGET",
		"Check the address. If the target was set up anew, use the code it prints now; otherwise somebody is in between.", errors.New(what))
}

// prove enrols this source at a target that does not know it, and makes the target prove that it made the code.
func (g *guest) prove(c *Conn, exporter []byte) error {
	if err := g.parse(c.peer); err != nil {
		return err
	}
	self := g.id.Fingerprint()
	if err := c.SendMessage(kindProve, prove{g.pairing.proof(sourceLabel, exporter, self)}); err != nil {
		return err
	}
	var answer prove
	if err := c.expect(kindProve, &answer); err != nil {
		return err
	}
	if !g.pairing.proves(answer.Proof, targetLabel, exporter, self) {
		return g.imposter("the target at " + g.addr + " does not know its own pairing code")
	}
	return nil
}

// door is the target's side.
type door struct {
	id    *Identity
	peers *KnownPeers
	code  *PairingCode // nil: only known sources
}

func (d *door) enter(c *Conn, deadline time.Time) error {
	config := tlsConfig(d.id)
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := peerKey(&state)
		return err
	}
	exporter, err := c.secure(tls.Server(c.link, config), deadline)
	if err != nil {
		return err
	}
	known := d.peers.Has(c.peer)
	if err := c.SendMessage(kindWelcome, welcome{known}); err != nil || known {
		return err
	}
	var given prove
	if err := c.expect(kindProve, &given); err != nil {
		return err
	}
	if err := d.enrol(c, given.Proof, exporter); err != nil {
		_ = c.Refuse(err) // whether it heard or not, it is out
		return err
	}
	return c.SendMessage(kindProve, prove{d.code.proof(targetLabel, exporter, c.peer)})
}

func (d *door) enrol(c *Conn, given, exporter []byte) error {
	if d.code == nil {
		return fault.Operator("FERRY-PAIR-NEEDED", "Start `ferry target` with pairing and use the code it prints.",
			errors.New("the target takes only sources it knows"))
	}
	if err := d.code.admit(given, exporter, c.peer); err != nil {
		return err
	}
	if err := d.peers.Add(c.peer, c.Remote()); err != nil {
		return fault.Temporary(err)
	}
	return nil
}

package controller

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// Life of the own authority and of the certificates it signs, which are made anew, in memory, when a third of it is left.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	clockLeeway   = time.Hour // valid from before now: clocks of agents may be behind
)

const authoritySecret = "tls authority"

// certificates give a TLS server its certificate.
type certificates interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

func tlsConfig(c certificates) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.GetCertificate, NextProtos: []string{"http/1.1"}}
}

// authority signs the certificates of a control plane. Its key lies sealed in the database: all control planes of the database have
// the same one, and clients trust them all by one file.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte // of the certificate
}

// loadAuthority returns the authority of a database, a new one if it has none.
func loadAuthority(ctx context.Context, identities *iam.Service, now time.Time) (*authority, error) {
	text, err := identities.Secret(ctx, authoritySecret, func() ([]byte, error) { return newAuthority(now) })
	if err != nil {
		return nil, fmt.Errorf("TLS authority: %w", err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("TLS authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("TLS authority: a key of kind %T", pair.PrivateKey)
	}
	block := &pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}
	return &authority{certificate: pair.Leaf, key: key, pem: pem.EncodeToMemory(block)}, nil
}

// newAuthority returns certificate and key of a new authority as PEM.
func newAuthority(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("Ferry control plane authority", now, authorityLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: raw}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := pem.Encode(&text, block); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

func certificate(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockLeeway), NotAfter: now.Add(life),
	}
}

// ownCertificates are signed by the own authority for the names of this host.
type ownCertificates struct {
	authority *authority
	names     []string
	now       func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate
}

// GetCertificate returns the current certificate, a new one if it grows old.
func (c *ownCertificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.leaf != nil && now.Before(c.leaf.Leaf.NotAfter.Add(-leafLife/3)) {
		return c.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("Ferry control plane", now, leafLife)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range c.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, c.authority.certificate, key.Public(), c.authority.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, err
	}
	c.leaf = &tls.Certificate{Certificate: [][]byte{raw, c.authority.certificate.Raw}, PrivateKey: key, Leaf: leaf}
	return c.leaf, nil
}

// ownNames returns what clients may call this host: what it listens on, its name and its addresses, and extra ones.
func ownNames(listen string, extra []string) []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, extra...)
	if addr, err := netip.ParseAddr(listen); err != nil {
		names = append(names, listen)
	} else if !addr.IsUnspecified() {
		names = append(names, addr.WithZone("").String())
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok {
				names = append(names, network.IP.String())
			}
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// givenCertificate is one that somebody else renews, in two files, which are read again when they change.
type givenCertificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	written time.Time // of the certificate in use
	pair    *tls.Certificate
}

// openCertificate reads a certificate and its key. Errors: FERRY-TLS.
func openCertificate(certFile, keyFile string) (*givenCertificate, error) {
	c := &givenCertificate{certFile: certFile, keyFile: keyFile}
	_, err := c.GetCertificate(nil)
	return c, fault.Operator("FERRY-TLS", "give --tls-cert and --tls-key as PEM files that belong together", err)
}

// GetCertificate returns the certificate. While new files do not fit each other the old one stays.
func (c *givenCertificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := newest(c.certFile, c.keyFile)
	if err == nil && !at.Equal(c.written) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.pair, c.written = &pair, at
		}
	}
	if c.pair == nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return c.pair, nil
}

// newest returns when the younger of the files was written.
func newest(files ...string) (at time.Time, err error) {
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}

package controller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/pkcs8"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// channelLife is how long the certificates of a task are valid: longer than any task syncs.
const channelLife = 3 * 365 * 24 * time.Hour

// showCertKey serves GET /v3/tasks/{task_id}/certkey. The certificates are made when they are first asked for, and stay.
func (s *Server) showCertKey(r *http.Request, _ []byte) (any, error) {
	withCA, err := smsapi.ParseCertKeyQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	channel, err := s.channel(r)
	if err != nil {
		return nil, err
	}
	if !withCA {
		channel.Keys.CA = ""
	}
	return channel.Keys, nil
}

// showPassphrase serves GET /v3/tasks/{task_id}/passphrase.
func (s *Server) showPassphrase(r *http.Request, _ []byte) (any, error) {
	channel, err := s.channel(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("task_id")
	text, err := s.identities.Open(passphraseOf(id), channel.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	return smsapi.Passphrase{TaskID: id, Passphrase: string(text)}, nil
}

// passphraseOf names what the passphrase of a task is sealed as.
func passphraseOf(task string) string { return "passphrase of task " + task }

// channel returns what secures the data channel of the task that the path names. It is made once, also when two control planes are
// asked at once. The keys are made before, because that takes time and nobody shall wait for it.
func (s *Server) channel(r *http.Request) (channel *store.Channel, err error) {
	read := func(tx *store.Tx) (t *store.Task, err error) {
		if t, err = tx.Task(r.PathValue("task_id")); err == nil {
			channel, err = tx.Channel(t)
		} else {
			err = notFound(err, r.PathValue("task_id"))
		}
		return t, err
	}
	var task *store.Task
	err = s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		task, err = read(tx)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return channel, err
	}
	fresh, err := s.newChannel(task)
	if err != nil {
		return nil, err
	}
	return channel, s.store.Change(r.Context(), func(tx *store.Tx) error {
		task, err := read(tx)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		channel = fresh
		return tx.PutChannel(task, fresh)
	})
}

// newChannel makes an authority of its own for a task, and what it signs: a certificate for the source and two for the target. The
// authority's key is thrown away: nothing else will ever be signed by it.
func (s *Server) newChannel(task *store.Task) (*store.Channel, error) {
	passphrase := []byte(rand.Text())
	now := s.now()
	ca := certificate("Ferry task "+task.ID, now, channelLife)
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero, ca.KeyUsage = true, true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	sign := func(name string, usage x509.ExtKeyUsage) (cert, key string, err error) {
		return signed(channelLeaf(task, name, usage, now), ca, caKey, passphrase)
	}
	c := &store.Channel{Passphrase: s.identities.Seal(passphraseOf(task.ID), passphrase), Made: now.UnixMilli()}
	c.Keys.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	var failed [3]error
	c.Keys.Cert, c.Keys.PrivateKey, failed[0] = sign("source", x509.ExtKeyUsageClientAuth)
	c.Keys.TargetMgmtCert, c.Keys.TargetMgmtPrivateKey, failed[1] = sign("target management", x509.ExtKeyUsageServerAuth)
	c.Keys.TargetDataCert, c.Keys.TargetDataPrivateKey, failed[2] = sign("target data", x509.ExtKeyUsageServerAuth)
	return c, errors.Join(failed[:]...)
}

// channelLeaf describes a certificate of a task's channel. Those of the target are good for its address and for the task's id: the
// address may change, or be unknown.
func channelLeaf(task *store.Task, name string, usage x509.ExtKeyUsage, now time.Time) *x509.Certificate {
	leaf := certificate(name+" of task "+task.ID, now, channelLife)
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	if usage == x509.ExtKeyUsageServerAuth {
		leaf.DNSNames = []string{task.ID}
		if ip := net.ParseIP(task.Request.MigrationIP); ip != nil {
			leaf.IPAddresses = []net.IP{ip}
		}
	}
	return leaf
}

// signed returns a certificate and its new key, encrypted, as PEM.
func signed(leaf, ca *x509.Certificate, caKey *ecdsa.PrivateKey, passphrase []byte) (cert, key string, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("channel: %w", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, ca, own.Public(), caKey)
	if err != nil {
		return "", "", fmt.Errorf("channel: %w", err)
	}
	sealed, err := pkcs8.Encrypt(own, passphrase)
	if err != nil {
		return "", "", fmt.Errorf("channel: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), string(sealed), nil
}

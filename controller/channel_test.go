package controller_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/internal/pkcs8"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func (p *plane) channel(task string) (keys smsapi.CertKey, passphrase string) {
	p.Helper()
	var answer smsapi.Passphrase
	p.call("GET", "/v3/tasks/"+task+"/certkey", nil, &keys)
	p.call("GET", "/v3/tasks/"+task+"/passphrase", nil, &answer)
	require.Equal(p, task, answer.TaskID)
	return keys, answer.Passphrase
}

// pair returns what one side of a TLS connection shows.
func pair(t *testing.T, cert, key, passphrase string) tls.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(cert))
	private, err := pkcs8.Decrypt([]byte(key), []byte(passphrase))
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: private}
}

// With what certkey and passphrase answer, source and target of one task meet over TLS; those of another task do not.
func TestChannel(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id, other := p.createFor("nobody"), p.createFor("nobody")
	keys, passphrase := p.channel(id)
	again, same := p.channel(id)
	require.Equal(t, keys, again)
	require.Equal(t, passphrase, same)
	strange, strangePhrase := p.channel(other)
	require.NotEqual(t, passphrase, strangePhrase)

	authority := func(text string) *x509.CertPool {
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM([]byte(text)))
		return pool
	}
	meet := func(target, source tls.Certificate, name string) error {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		server := tls.Server(a, &tls.Config{
			Certificates: []tls.Certificate{target}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority(keys.CA), Time: p.clock.now, MinVersion: tls.VersionTLS13,
		})
		client := tls.Client(b, &tls.Config{
			Certificates: []tls.Certificate{source}, RootCAs: authority(keys.CA), ServerName: name, Time: p.clock.now, MinVersion: tls.VersionTLS13,
		})
		served := make(chan error, 1)
		go func() {
			err := server.HandshakeContext(t.Context())
			a.Close()
			served <- err
		}()
		err := client.HandshakeContext(t.Context())
		b.Close()
		if failed := <-served; err == nil {
			err = failed
		}
		return err
	}
	source := pair(t, keys.Cert, keys.PrivateKey, passphrase)
	management := pair(t, keys.TargetMgmtCert, keys.TargetMgmtPrivateKey, passphrase)
	data := pair(t, keys.TargetDataCert, keys.TargetDataPrivateKey, passphrase)
	for _, name := range []string{id, "192.168.0.1"} {
		require.NoError(t, meet(management, source, name))
		require.NoError(t, meet(data, source, name))
	}
	require.Error(t, meet(data, source, "192.168.0.2"), "another address")
	require.Error(t, meet(data, data, id), "a target is no source")
	require.Error(t, meet(source, source, id), "a source is no target")
	require.Error(t, meet(data, pair(t, strange.Cert, strange.PrivateKey, strangePhrase), id), "the source of another task")
	require.Error(t, meet(pair(t, strange.TargetDataCert, strange.TargetDataPrivateKey, strangePhrase), source, id), "the target of another task")

	var without smsapi.CertKey
	p.call("GET", "/v3/tasks/"+id+"/certkey?enable_ca_cert=false", nil, &without)
	require.Empty(t, without.CA)
	require.Equal(t, keys.Cert, without.Cert)
	p.refused(400, smsapi.CodeInvalid, "GET", "/v3/tasks/"+id+"/certkey?enable_ca_cert=perhaps", nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/none/certkey", nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/none/passphrase", nil)
}

// Source and target ask two controllers of one PostgreSQL at once: both get the same keys.
func TestChannelIsMadeOnce(t *testing.T) {
	address, dir := storetest.Postgres(t), t.TempDir()
	planes := []*plane{startPlaneOn(t, address, dir), startPlaneOn(t, address, dir)}
	id := ""
	for range 5 { // that two meet is likely, not certain
		id = planes[0].createFor("nobody")
		var keys [8]smsapi.CertKey
		var group sync.WaitGroup
		together := make(chan struct{})
		for i := range keys {
			group.Go(func() {
				<-together
				planes[i%2].call("GET", "/v3/tasks/"+id+"/certkey", nil, &keys[i])
			})
		}
		close(together)
		group.Wait()
		for _, one := range keys {
			require.Equal(t, keys[0], one)
		}
	}
	planes[1].call("DELETE", "/v3/tasks/"+id, nil, nil)
	planes[0].refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/"+id+"/certkey", nil)
}

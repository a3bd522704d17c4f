package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestPairingCodeText(t *testing.T) {
	code := NewPairingCode(Fingerprint{1, 2, 3})
	text := code.Text()
	if len(text) != len(codePrefix)+84 {
		t.Errorf("%d characters", len(text))
	}
	body := text[len(codePrefix):]
	for _, same := range []string{
		text, strings.ToLower(text), "  " + text + "\r\n", codePrefix + body[:20] + "-" + body[20:] + " ",
		codePrefix + strings.NewReplacer("0", "o", "1", "l").Replace(body), codePrefix + strings.NewReplacer("0", "O", "1", "I").Replace(body),
	} {
		got, err := ParsePairingCode(same)
		if err != nil || got.target != code.target || got.secret != code.secret {
			t.Errorf("%q: %v", same, err)
		}
	}
	for i := range body {
		wrong := []byte(text)
		wrong[len(codePrefix)+i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", body[i])+1)%32]
		_, err := ParsePairingCode(string(wrong))
		wantCode(t, err, "FERRY-PAIR-MALFORMED")
		if strings.Contains(err.Error(), body[:10]) {
			t.Errorf("the error quotes the code: %v", err)
		}
	}
	for _, bad := range []string{"", "FERRY1-", text[1:], text[:len(text)-1], text + "0", strings.Replace(text, "FERRY1", "FERRY2", 1), text[:50] + "U" + text[51:], strings.Repeat("x", 1<<20)} {
		_, err := ParsePairingCode(bad)
		wantCode(t, err, "FERRY-PAIR-MALFORMED")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(format, code); strings.Contains(shown, body[60:]) || strings.Contains(shown, fmt.Sprint(code.secret)) {
			t.Errorf("%s shows the secret: %s", format, shown)
		}
	}
}

func FuzzParsePairingCode(f *testing.F) {
	f.Add(NewPairingCode(Fingerprint{7}).Text())
	f.Add("ferry1-oil")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePairingCode(text); err == nil {
			again, err := ParsePairingCode(p.Text())
			if err != nil || again.secret != p.secret || again.target != p.target {
				t.Fatalf("%q: %v", text, err)
			}
		} else if fault.CodeOf(err) != "FERRY-PAIR-MALFORMED" {
			t.Fatal(err)
		}
	})
}

func TestEnrolment(t *testing.T) {
	target, source, other := newNode(t), newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, Options{})
	enter := func(n *node, code string) error {
		c, err := n.dial(l, code, Options{})
		if err == nil {
			if c.Peer() != target.id.Fingerprint() {
				t.Errorf("peer %s", c.Peer())
			}
			c.Close()
		}
		return err
	}
	wantCode(t, enter(source, ""), "FERRY-PAIR-NEEDED")
	wantCode(t, enter(source, "nonsense"), "FERRY-PAIR-MALFORMED")
	wantCode(t, enter(source, NewPairingCode(target.id.Fingerprint()).Text()), "FERRY-PAIR-WRONG")
	wantCode(t, enter(source, NewPairingCode(other.id.Fingerprint()).Text()), "FERRY-PAIR-TARGET")
	if len(source.targets.All()) != 0 || len(target.sources.All()) != 0 {
		t.Fatal("a failed enrolment left a key")
	}
	must(t, enter(source, code.Text()))
	wantCode(t, enter(other, code.Text()), "FERRY-PAIR-USED")
	must(t, enter(source, ""))
	must(t, enter(source, "nonsense is not looked at"))

	// What was learnt survives a restart, in private files.
	for path, want := range map[string]Fingerprint{source.targets.path: target.id.Fingerprint(), target.sources.path: source.id.Fingerprint()} {
		again, err := OpenKnownPeers(path)
		must(t, err)
		if !again.Has(want) || len(again.All()) != 1 {
			t.Errorf("%s: %v", path, again.All())
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}

	// Killed in the middle, either side may have forgotten the other: the same key may come again.
	source.targets = &KnownPeers{path: source.targets.path}
	must(t, enter(source, code.Text()))
	target.sources.peers = nil
	wantCode(t, enter(source, ""), "FERRY-PAIR-NEEDED")
	must(t, enter(source, code.Text()))
	wantCode(t, enter(other, code.Text()), "FERRY-PAIR-USED")
}

func TestTargetWithoutCode(t *testing.T) {
	target, source := newNode(t), newNode(t)
	l := target.listen(t, nil, Options{})
	_, err := source.dial(l, NewPairingCode(target.id.Fingerprint()).Text(), Options{})
	wantCode(t, err, "FERRY-PAIR-NEEDED")
	must(t, target.sources.Add(source.id.Fingerprint(), "by hand"))
	must(t, source.targets.Add(target.id.Fingerprint(), "by hand"))
	c, err := source.dial(l, "", Options{})
	must(t, err)
	c.Close()
}

// Another machine answers at the address of an enrolled target.
func TestReplacedTarget(t *testing.T) {
	target, source, imposter := newNode(t), newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, Options{})
	c, err := source.dial(l, code.Text(), Options{})
	must(t, err)
	c.Close()
	addr := l.Addr().String()
	l.Close()
	fake, err := Listen(addr, imposter.id, imposter.sources, NewPairingCode(imposter.id.Fingerprint()), Options{})
	must(t, err)
	defer fake.Close()
	for _, given := range []string{"", code.Text()} {
		_, err = Dial(context.Background(), addr, source.id, source.targets, given, Options{})
		wantCode(t, err, "FERRY-PAIR-TARGET")
	}
}

// A target that shows the right key but not the secret is a relay that stole the key; it must not be enrolled.
func TestTargetMustProveToo(t *testing.T) {
	target, source := newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	enter := func(c *Conn, deadline time.Time) error {
		config := tlsConfig(target.id)
		config.ClientAuth = tls.RequireAnyClientCert
		if _, err := c.secure(tls.Server(c.link, config), deadline); err != nil {
			return err
		}
		c.SendMessage(kindWelcome, welcome{false})
		c.expect(kindProve, new(prove))
		return c.SendMessage(kindProve, prove{make([]byte, 32)})
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ln := newListener(tcp, enter, Options{}.withDefaults())
	defer ln.Close()
	_, err = source.dial(ln, code.Text(), Options{})
	wantCode(t, err, "FERRY-PAIR-TARGET")
	if len(source.targets.All()) != 0 {
		t.Error("enrolled all the same")
	}
}

func TestProofIsBoundToTheConnection(t *testing.T) {
	code := NewPairingCode(Fingerprint{})
	a, b := Fingerprint{1}, Fingerprint{2}
	proof := code.proof(sourceLabel, []byte("exporter 1"), a)
	if code.admit(proof, []byte("exporter 2"), a) == nil || code.admit(proof, []byte("exporter 1"), b) == nil ||
		code.admit(code.proof(targetLabel, []byte("exporter 1"), a), []byte("exporter 1"), a) == nil || code.admit(nil, nil, a) == nil {
		t.Error("a proof of something else was admitted")
	}
	must(t, code.admit(proof, []byte("exporter 1"), a))
}

func TestGuessingIsLimited(t *testing.T) {
	code := NewPairingCode(Fingerprint{})
	for range maxWrong {
		wantCode(t, code.admit(nil, nil, Fingerprint{}), "FERRY-PAIR-WRONG")
	}
	right := code.proof(sourceLabel, nil, Fingerprint{})
	if err := code.admit(right, nil, Fingerprint{}); fault.ClassOf(err) != fault.ClassTemporary {
		t.Fatalf("after %d wrong ones: %v", maxWrong, err)
	}
	for i := range code.wrong {
		code.wrong[i] = code.wrong[i].Add(-wrongWindow - time.Second)
	}
	must(t, code.admit(right, nil, Fingerprint{}))
}

func TestIdentityFile(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadIdentity(dir)
	must(t, err)
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	must(t, err)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	second, err := LoadIdentity(dir)
	must(t, err)
	if first.Fingerprint() != second.Fingerprint() {
		t.Error("a new identity at the second start")
	}
	var parsed Fingerprint
	must(t, parsed.UnmarshalText([]byte(first.Fingerprint().String())))
	if parsed != first.Fingerprint() || parsed.UnmarshalText([]byte("abc")) == nil {
		t.Error("fingerprint text")
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	must(t, err)
	for name, damaged := range map[string][]byte{
		"empty": nil, "cut": text[:len(text)/2], "noise": []byte("not a key"), "flipped": bytes.Replace(text, []byte("MC4C"), []byte("MC4D"), 1),
		"other key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		must(t, os.WriteFile(path, damaged, 0o600))
		_, err := LoadIdentity(dir)
		wantCode(t, err, "FERRY-IDENTITY-DAMAGED")
		if left, _ := os.ReadFile(path); !bytes.Equal(left, damaged) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	_, err = LoadIdentity(filepath.Join(dir, "missing"))
	if err == nil {
		t.Error("made a state directory")
	}
}

func TestDamagedPeers(t *testing.T) {
	path := filepath.Join(t.TempDir(), SourcesFile)
	for text, code := range map[string]string{
		"": "FERRY-PEERS-DAMAGED", `{"version":1,"peers":[{"fingerprint":"ab"}]}`: "FERRY-PEERS-DAMAGED", `{"version":2}`: "FERRY-STATE-NEWER",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := OpenKnownPeers(path)
		wantCode(t, err, code)
	}
}

// A certificate with another kind of key is not let in, whichever side shows it.
func TestOnlyEd25519(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ec.Public(), ec)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	foreign := newNode(t)
	foreign.id = &Identity{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ec, Leaf: leaf}, fingerprint: fingerprintOf(leaf)}
	honest := newNode(t)
	code := NewPairingCode(honest.id.Fingerprint())
	if _, err := foreign.dial(honest.listen(t, code, Options{}), code.Text(), Options{}); err == nil {
		t.Error("the target let it in")
	}
	code = NewPairingCode(foreign.id.Fingerprint())
	if _, err := honest.dial(foreign.listen(t, code, Options{}), code.Text(), Options{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("the source: %v", err)
	}
}

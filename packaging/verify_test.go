package packaging

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestVerify(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	parsed, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	require.NoError(t, err)
	require.Equal(t, public, parsed)

	content := []byte("a package")
	sums := fmt.Appendf(nil, "%064x  other.deb\n%x  ferry.deb\n", 7, sha256.Sum256(content))
	release := map[string][]byte{"ferry.deb": content, sumsFile: sums, signatureFile: ed25519.Sign(private, sums)}
	try := func(change func(map[string][]byte)) error {
		dir := t.TempDir()
		files := map[string][]byte{}
		for name, text := range release {
			files[name] = append([]byte(nil), text...)
		}
		change(files)
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		}
		return Verify(filepath.Join(dir, "ferry.deb"), public)
	}
	require.NoError(t, try(func(map[string][]byte) {}))
	for what, change := range map[string]func(map[string][]byte){
		"a bit of the package": func(f map[string][]byte) { f["ferry.deb"][0] ^= 1 },
		"a bit of the sums":    func(f map[string][]byte) { f[sumsFile][0] ^= 1 },
		"a bit of the sign":    func(f map[string][]byte) { f[signatureFile][63] ^= 1 },
		"a short signature":    func(f map[string][]byte) { f[signatureFile] = f[signatureFile][:63] },
		"no signature":         func(f map[string][]byte) { delete(f, signatureFile) },
		"no sums":              func(f map[string][]byte) { delete(f, sumsFile) },
		"a name not released": func(f map[string][]byte) {
			f[sumsFile] = fmt.Appendf(nil, "%x  xferry.deb\n", sha256.Sum256(content))
			f[signatureFile] = ed25519.Sign(private, f[sumsFile])
		},
		"signed by another": func(f map[string][]byte) {
			_, other, _ := ed25519.GenerateKey(nil)
			f[signatureFile] = ed25519.Sign(other, f[sumsFile])
		},
	} {
		require.Equal(t, "FERRY-SIGNATURE", fault.CodeOf(try(change)), what)
	}
}

func FuzzDigestOf(f *testing.F) {
	f.Add([]byte(fmt.Sprintf("%064x  a\n", 1)), "a")
	f.Add([]byte("  \n00  a"), "")
	f.Fuzz(func(t *testing.T, sums []byte, name string) {
		if d, err := digestOf(sums, name); err == nil && len(d) != sha256.Size {
			t.Fatalf("%d bytes", len(d))
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParseKey(text); err == nil && len(key) != ed25519.PublicKeySize {
			t.Fatalf("%d bytes", len(key))
		}
	})
}

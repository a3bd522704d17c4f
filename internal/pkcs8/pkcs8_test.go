package pkcs8_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os/exec"
	"testing"

	"github.com/ferry-migrate/ferry/internal/pkcs8"
	"github.com/stretchr/testify/require"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestRoundTrip(t *testing.T) {
	key := newKey(t)
	text, err := pkcs8.Encrypt(key, []byte("secret"))
	require.NoError(t, err)
	got, err := pkcs8.Decrypt(text, []byte("secret"))
	require.NoError(t, err)
	require.True(t, key.Equal(got))
	_, err = pkcs8.Decrypt(text, []byte("Secret"))
	require.ErrorIs(t, err, pkcs8.ErrDecrypt)
	_, err = pkcs8.Decrypt(bytes.Replace(text, []byte("ENCRYPTED"), []byte("PLAIN"), 2), []byte("secret"))
	require.Error(t, err)
}

// OpenSSL reads what we write, and we read what it writes.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	openssl := func(in []byte, args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		require.NoError(t, err)
		return out
	}
	key := newKey(t)
	text, err := pkcs8.Encrypt(key, []byte("secret"))
	require.NoError(t, err)
	plain := openssl(text, "pkcs8", "-passin", "pass:secret")
	again := openssl(plain, "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-passout", "pass:other")
	got, err := pkcs8.Decrypt(again, []byte("other"))
	require.NoError(t, err)
	require.True(t, key.Equal(got))
}

func FuzzDecrypt(f *testing.F) {
	text, err := pkcs8.Encrypt(newKey(f), []byte("secret"))
	require.NoError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 {
			return
		}
		if key, err := pkcs8.Decrypt(text, []byte("secret")); err == nil {
			require.NotNil(t, key)
		}
	})
}

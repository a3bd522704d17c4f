package packaging

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// A release is a directory of files with their SHA-256 digests in sumsFile, as sha256sum(1) writes them, and the Ed25519 signature of
// that file, 64 bytes, in signatureFile. `openssl pkeyutl -verify -rawin` reads the same.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = "SHA256SUMS.sig"
	maxSums       = 1 << 20 // bytes
)

// Verify returns nil if the file at path is one of the release that lies beside it, signed with key. Errors: FERRY-SIGNATURE.
func Verify(path string, key ed25519.PublicKey) error {
	if err := verify(path, key); err != nil {
		return fault.Operator("FERRY-SIGNATURE", "do not use this file; get it, "+sumsFile+" and "+signatureFile+" again from where the release is", err)
	}
	return nil
}

func verify(path string, key ed25519.PublicKey) error {
	dir := filepath.Dir(path)
	sums, err := readSmall(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	signature, err := readSmall(filepath.Join(dir, signatureFile))
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, sums, signature) {
		return fmt.Errorf("%s is not signed with this key", sumsFile)
	}
	want, err := digestOf(sums, filepath.Base(path))
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got := sha256.New()
	if _, err := io.Copy(got, f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if !bytes.Equal(got.Sum(nil), want) {
		return fmt.Errorf("%s is not what was released under this name", path)
	}
	return nil
}

// digestOf finds the digest of a file in the text of sumsFile.
func digestOf(sums []byte, name string) ([]byte, error) {
	for line := range strings.Lines(string(sums)) {
		digest, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || file != name {
			continue
		}
		if d, err := hex.DecodeString(digest); err == nil && len(d) == sha256.Size {
			return d, nil
		}
		return nil, fmt.Errorf("%s is damaged at %s", sumsFile, name)
	}
	return nil, fmt.Errorf("%s does not name %s", sumsFile, name)
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSums+1))
	if err == nil && len(text) > maxSums {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, err
}

// ParseKey reads an Ed25519 public key in PEM (RFC 8410), as `openssl pkey -pubout` writes it.
func ParseKey(text []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("it is no public key in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if key, ok := key.(ed25519.PublicKey); ok {
		return key, nil
	}
	return nil, errors.New("it is no Ed25519 key")
}

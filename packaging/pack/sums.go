package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sums writes the digests of all files of a directory, and with the private key at keyPath
// (Ed25519, PKCS #8 in PEM) their signature: what `ferry version --verify` reads.
func sums(dir, keyPath string) error {
	found, err := os.ReadDir(dir) // in order
	if err != nil {
		return err
	}
	var list bytes.Buffer
	for _, f := range found {
		if f.IsDir() || strings.HasPrefix(f.Name(), "SHA256SUMS") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(text), f.Name())
	}
	path := filepath.Join(dir, "SHA256SUMS")
	if err := os.WriteFile(path, list.Bytes(), 0o644); err != nil {
		return err
	}
	os.Remove(path + ".sig") // of an earlier list
	if keyPath == "" {
		return nil
	}
	key, err := readKey(keyPath)
	if err != nil {
		return fmt.Errorf("the key in FERRY_SIGN_KEY: %w", err)
	}
	return os.WriteFile(path+".sig", ed25519.Sign(key, list.Bytes()), 0o644)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(ed25519.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("it is no Ed25519 key")
}

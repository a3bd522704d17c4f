package iam

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// A Sealer encrypts what the database keeps and the control plane must be able to read again: the secrets that requests are signed
// with, and private keys. It is AES-256-GCM with a random nonce before each text.
//
// Its key lies in a file outside the database, so that a copy of the database alone opens nothing. Control planes that share a
// database share the file.
type Sealer struct{ aead cipher.AEAD }

const sealingKeySize = 32

// LoadSealer reads the sealing key at path, or makes one and writes it with mode 0600. Errors: FERRY-SEALING-KEY if the file is damaged.
func LoadSealer(path string) (*Sealer, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key := make([]byte, sealingKeySize)
		rand.Read(key)
		if err := durable.WriteFile(path, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("sealing key: %w", err)
		}
		return NewSealer(key)
	case err != nil:
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != sealingKeySize {
		return nil, wrongKey(fmt.Errorf("the sealing key %s is damaged", path))
	}
	return NewSealer(key)
}

// NewSealer returns a sealer with a key of 32 bytes.
func NewSealer(key []byte) (*Sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

// Seal encrypts text. It opens under the same name only, so that nobody can swap two sealed texts in the database.
func (s *Sealer) Seal(name string, text []byte) []byte {
	return s.aead.Seal(nil, nil, text, []byte(name))
}

// Open decrypts what Seal made under name. Errors: FERRY-SEALING-KEY if it was sealed with another key or under another name.
func (s *Sealer) Open(name string, sealed []byte) ([]byte, error) {
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, wrongKey(fmt.Errorf("the database's %s was not sealed with this controller's sealing key", name))
	}
	return text, nil
}

func wrongKey(err error) error {
	return fault.Operator("FERRY-SEALING-KEY", "put back the sealing key that the database was made with, from a backup or from another controller of it", err)
}

// Package pkcs8 encrypts private keys with a passphrase, as PKCS #8 in PEM: PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC
// (RFC 8018). OpenSSL and most others read it; the standard library has only the older, broken form of encrypted PEM.
//
// A wrong passphrase and a damaged file are told apart only by what comes out: CBC has no seal. It reads what it writes, and what
// OpenSSL writes with the same algorithms; nothing else.
package pkcs8

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// ErrDecrypt says that the passphrase is wrong, or the key damaged.
var ErrDecrypt = errors.New("wrong passphrase, or a damaged key")

const (
	pemType = "ENCRYPTED PRIVATE KEY"
	rounds  = 2048 // as OpenSSL does it; the passphrases here are random, and hopeless to guess with one round too
	keySize = 32
	salt    = 16

	// What a file may ask for.
	maxRounds = 10_000_000
	maxSalt   = 1024
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// The structures of RFC 5958 and RFC 8018.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	kdf   struct {
		Salt   []byte
		Rounds int
		Length int `asn1:"optional"`
		PRF    pkix.AlgorithmIdentifier
	}
)

// Encrypt returns key encrypted with passphrase, as PEM.
func Encrypt(key crypto.PrivateKey, passphrase []byte) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	random := make([]byte, salt+aes.BlockSize)
	rand.Read(random)
	salt, iv := random[:salt], random[salt:]
	block, err := derive(passphrase, salt, rounds)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	for range padding {
		plain = append(plain, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	der, err := marshal(plain, salt, iv)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func marshal(data, salt, iv []byte) ([]byte, error) {
	derivation, err := asn1.Marshal(kdf{Salt: salt, Rounds: rounds, PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue}})
	if err != nil {
		return nil, err
	}
	vector, err := asn1.Marshal(iv)
	if err != nil {
		return nil, err
	}
	scheme, err := asn1.Marshal(pbes2{
		KDF:    pkix.AlgorithmIdentifier{Algorithm: oidPBKDF2, Parameters: asn1.RawValue{FullBytes: derivation}},
		Cipher: pkix.AlgorithmIdentifier{Algorithm: oidAES256CBC, Parameters: asn1.RawValue{FullBytes: vector}},
	})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedKey{Data: data, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidPBES2, Parameters: asn1.RawValue{FullBytes: scheme}}})
}

// Decrypt returns the private key in the first block of text, which is PEM. It returns ErrDecrypt, wrapped, for a wrong passphrase.
func Decrypt(text, passphrase []byte) (crypto.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("not a PEM block %q", pemType)
	}
	var key encryptedKey
	var scheme pbes2
	var derivation kdf
	var iv []byte
	if err := errors.Join(exactly(block.Bytes, &key), exactly(key.Algorithm.Parameters.FullBytes, &scheme)); err != nil {
		return nil, err
	}
	if err := errors.Join(exactly(scheme.KDF.Parameters.FullBytes, &derivation), exactly(scheme.Cipher.Parameters.FullBytes, &iv)); err != nil {
		return nil, err
	}
	known := key.Algorithm.Algorithm.Equal(oidPBES2) && scheme.KDF.Algorithm.Equal(oidPBKDF2) &&
		scheme.Cipher.Algorithm.Equal(oidAES256CBC) && derivation.PRF.Algorithm.Equal(oidHMACSHA256)
	switch {
	case !known, derivation.Length != 0 && derivation.Length != keySize:
		return nil, errors.New("a private key that is encrypted in another way than PBES2 with HMAC-SHA-256 and AES-256-CBC")
	case derivation.Rounds < 1, derivation.Rounds > maxRounds, len(derivation.Salt) > maxSalt, len(iv) != aes.BlockSize,
		len(key.Data) == 0, len(key.Data)%aes.BlockSize != 0:
		return nil, ErrDecrypt
	}
	return open(key.Data, passphrase, derivation, iv)
}

func open(data, passphrase []byte, derivation kdf, iv []byte) (crypto.PrivateKey, error) {
	c, err := derive(passphrase, derivation.Salt, derivation.Rounds)
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(data, data)
	padding := int(data[len(data)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, ErrDecrypt
	}
	plain, err := x509.ParsePKCS8PrivateKey(data[:len(data)-padding])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDecrypt, err)
	}
	return plain, nil
}

func derive(passphrase, salt []byte, rounds int) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, rounds, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return aes.NewCipher(key)
}

// exactly decodes DER that holds one value and nothing after it.
func exactly(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing bytes")
	}
	if err != nil {
		return fmt.Errorf("encrypted private key: %w", err)
	}
	return nil
}

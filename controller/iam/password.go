package iam

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Passwords are kept as "pbkdf2-sha256$ROUNDS$SALT$HASH", salt and hash in base64: PBKDF2 with HMAC-SHA-256 of NIST SP 800-132,
// and as many rounds as OWASP asks for (2023). One check takes some 100 ms of one processor, which is why few run at once.
const (
	passwordScheme = "pbkdf2-sha256"
	maxRounds      = 10_000_000
	saltSize       = 16
)

var passwordRounds = 600_000 // fewer in tests

// hashPassword returns what the database keeps of a password.
func hashPassword(password string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return fmt.Sprintf("%s$%d$%s$%s", passwordScheme, passwordRounds, encode(salt), encode(derive(password, salt, passwordRounds)))
}

// passwordFits reports whether hash, made by hashPassword, is that of password.
func passwordFits(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || parts[0] != passwordScheme {
		return false
	}
	rounds, err := strconv.Atoi(parts[1])
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[2])
	want, hashErr := base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil || saltErr != nil || hashErr != nil || len(want) != sha256.Size || rounds < 1 || rounds > maxRounds {
		return false
	}
	return subtle.ConstantTimeCompare(want, derive(password, salt, rounds)) == 1
}

func derive(password string, salt []byte, rounds int) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return nil // a FIPS module refused: fits no hash
	}
	return key
}

func encode(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

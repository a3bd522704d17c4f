package wire

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// PairingCode enrols one source at one target, once. It holds the target's fingerprint and a one-time secret.
//
// The text form is "FERRY1-" and 84 characters of Crockford's base32 (no I, L, O, U; read without regard to case, with O for 0
// and I or L for 1, dashes and blanks ignored) over 32 bytes of fingerprint, 16 of secret and 4 of checksum, the first of the
// SHA-256 of "FERRY1-" and the bytes before. The checksum tells a mistyped code from a wrong one.
//
// It prints as a placeholder: only Text shows the secret. It is safe for many goroutines.
type PairingCode struct {
	target Fingerprint
	secret [16]byte

	mu    sync.Mutex
	bound *Fingerprint // the source that proved it
	wrong []time.Time  // recent wrong proofs, at most maxWrong
}

const (
	codePrefix = "FERRY1-"
	codeBytes  = sha256.Size + 16 + checksumSize
	codeLength = (codeBytes*8 + 4) / 5 // characters after the prefix

	checksumSize = 4

	// maxWrong proofs in wrongWindow, then none is looked at. The secret cannot be guessed anyway; this keeps logs short.
	maxWrong    = 20
	wrongWindow = time.Minute

	exporterLabel = "EXPORTER-ferry-pairing"
	sourceLabel   = "ferry pairing source v1"
	targetLabel   = "ferry pairing target v1"
)

var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewPairingCode makes a code for the target with the given key.
func NewPairingCode(target Fingerprint) *PairingCode {
	p := &PairingCode{target: target}
	rand.Read(p.secret[:]) // never fails, see crypto/rand
	return p
}

// Text returns the text form. It holds the secret: show it to the person who pairs, and to nobody else.
func (p *PairingCode) Text() string {
	raw := append(append(make([]byte, 0, codeBytes), p.target[:]...), p.secret[:]...)
	sum := checksum(raw)
	return codePrefix + crockford.EncodeToString(append(raw, sum[:]...))
}

// String hides the secret.
func (p *PairingCode) String() string { return "pairing code of target " + p.target.String()[:16] }

// GoString hides the secret too.
func (p *PairingCode) GoString() string { return p.String() }

func checksum(raw []byte) (sum [checksumSize]byte) {
	full := sha256.Sum256(append([]byte(codePrefix), raw...))
	copy(sum[:], full[:])
	return sum
}

// ParsePairingCode reads the text form. Anything else is the operator error FERRY-PAIR-MALFORMED, which does not quote it.
func ParsePairingCode(text string) (*PairingCode, error) {
	raw, err := decodeCode(text)
	if err != nil {
		return nil, fault.Operator("FERRY-PAIR-MALFORMED", "Copy the whole code that `ferry target` printed; it starts with FERRY1.",
			fmt.Errorf("pairing code: %w", err))
	}
	p := new(PairingCode)
	copy(p.target[:], raw)
	copy(p.secret[:], raw[len(p.target):])
	return p, nil
}

func decodeCode(text string) ([]byte, error) {
	if len(text) > 4*codeLength {
		return nil, errors.New("far too long")
	}
	bare := strings.NewReplacer("-", "", " ", "", "\t", "", "\r", "", "\n", "").Replace(strings.ToUpper(text))
	body, ok := strings.CutPrefix(bare, strings.TrimSuffix(codePrefix, "-"))
	if !ok {
		return nil, errors.New("does not start with FERRY1")
	}
	if len(body) != codeLength {
		return nil, fmt.Errorf("%d characters after FERRY1, not %d", len(body), codeLength)
	}
	body = strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(body)
	raw, err := crockford.DecodeString(body)
	if err != nil {
		return nil, errors.New("holds a character that no code has")
	}
	// The last character has spare bits, which the decoder ignores: one code has one text.
	sum := checksum(raw[:codeBytes-checksumSize])
	if [checksumSize]byte(raw[codeBytes-checksumSize:]) != sum || crockford.EncodeToString(raw) != body {
		return nil, errors.New("mistyped: the checksum does not match")
	}
	return raw, nil
}

// proof shows knowledge of the secret on one TLS connection.
func (p *PairingCode) proof(label string, exporter []byte, source Fingerprint) []byte {
	mac := hmac.New(sha256.New, p.secret[:])
	mac.Write([]byte(label))
	mac.Write(exporter)
	mac.Write(source[:])
	return mac.Sum(nil)
}

func (p *PairingCode) proves(given []byte, label string, exporter []byte, source Fingerprint) bool {
	return subtle.ConstantTimeCompare(given, p.proof(label, exporter, source)) == 1
}

// admit checks the proof of a source and binds the code to it.
func (p *PairingCode) admit(given, exporter []byte, source Fingerprint) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.wrong) > 0 && now.Sub(p.wrong[0]) > wrongWindow {
		p.wrong = p.wrong[1:]
	}
	if len(p.wrong) >= maxWrong {
		return fault.Temporary(errors.New("too many wrong pairing codes, wait a minute"))
	}
	if !p.proves(given, sourceLabel, exporter, source) {
		p.wrong = append(p.wrong, now)
		return fault.Operator("FERRY-PAIR-WRONG", "Use the code that this run of `ferry target` printed; an older one is no longer good.",
			errors.New("wrong pairing code"))
	}
	if p.bound != nil && *p.bound != source {
		return fault.Operator("FERRY-PAIR-USED", "A code enrols one source: start `ferry target` again and use the new code it prints.",
			errors.New("the pairing code was used by another source"))
	}
	p.bound = &source
	return nil
}

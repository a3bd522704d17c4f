package smsapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The signature SDK-HMAC-SHA256 of the vendor's SDKs (core/auth/signer of huaweicloud-sdk-go-v3): an HMAC over method, path,
// query, chosen headers and the SHA-256 of the body. The secret itself is the key.
const (
	algorithm     = "SDK-HMAC-SHA256"
	dateHeader    = "X-Sdk-Date"
	contentHeader = "X-Sdk-Content-Sha256"
	dateLayout    = "20060102T150405Z"
)

// MaxSkew is how far the clocks of client and service may be apart.
const MaxSkew = 15 * time.Minute

// Why a signature is refused.
var (
	ErrUnsigned  = errors.New("the request is not signed with " + algorithm)
	ErrSkew      = errors.New("the request's date is more than 15 minutes off")
	ErrKey       = errors.New("the access key is not known")
	ErrSignature = errors.New("the signature does not match")
)

// Key is an access key with its secret. Its JSON is the format of key files. Printing or logging one shows no secret.
type Key struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	DomainID  string `json:"domain_id"`
	ProjectID string `json:"project_id"`
}

// String returns the access key only.
func (k Key) String() string { return "key " + k.AccessKey }

// GoString returns the access key only.
func (k Key) GoString() string { return k.String() }

// LogValue returns the access key only.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Sign signs r, whose body is exactly body, as of now. It sets X-Sdk-Date, X-Domain-Id where the key has one, and Authorization;
// headers set later are not covered.
func (k Key) Sign(r *http.Request, body []byte, now time.Time) {
	r.Header.Set(dateHeader, now.UTC().Format(dateLayout))
	if k.DomainID != "" {
		r.Header.Set("X-Domain-Id", k.DomainID)
	}
	var signed []string
	for name := range r.Header {
		name = strings.ToLower(name)
		if name != "authorization" && !strings.HasPrefix(name, "content-type") && !strings.Contains(name, "_") {
			signed = append(signed, name)
		}
	}
	slices.Sort(signed)
	r.Header.Set("Authorization", fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%s",
		algorithm, k.AccessKey, strings.Join(signed, ";"), k.signature(r, body, signed)))
}

// Verify checks the signature of r, whose body is exactly body, as of now. It returns ErrUnsigned, ErrKey, ErrSkew or
// ErrSignature, wrapped. The body is always covered: a declared hash must be its hash. A request can be replayed while its date holds.
func (k Key) Verify(r *http.Request, body []byte, now time.Time) error {
	signed, signature, err := k.verifyHeader(r, now)
	if err != nil {
		return err
	}
	if declared := r.Header.Get(contentHeader); declared != "" && declared != hexSum(body) {
		return fmt.Errorf("%w: the body is not the one that was signed", ErrSignature)
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return fmt.Errorf("%w: malformed query", ErrSignature)
	}
	if !hmac.Equal([]byte(signature), []byte(k.signature(r, body, signed))) {
		return ErrSignature
	}
	return nil
}

// VerifyHeader is the part of Verify that needs no body: it refuses strangers before anything of theirs is read.
func (k Key) VerifyHeader(r *http.Request, now time.Time) error {
	_, _, err := k.verifyHeader(r, now)
	return err
}

func (k Key) verifyHeader(r *http.Request, now time.Time) (signed []string, signature string, err error) {
	access, signed, signature, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return nil, "", err
	}
	if !hmac.Equal([]byte(access), []byte(k.AccessKey)) {
		return nil, "", ErrKey
	}
	date, err := time.Parse(dateLayout, r.Header.Get(dateHeader))
	if err != nil || !slices.Contains(signed, strings.ToLower(dateHeader)) {
		return nil, "", fmt.Errorf("%w: no signed %s", ErrUnsigned, dateHeader)
	}
	if skew := now.Sub(date).Abs(); skew > MaxSkew {
		return nil, "", fmt.Errorf("%w: it says %s, here it is %s", ErrSkew, date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return signed, signature, nil
}

// parseAuthorization reads "SDK-HMAC-SHA256 Access=…, SignedHeaders=a;b, Signature=…".
func parseAuthorization(header string) (access string, signed []string, signature string, err error) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return "", nil, "", ErrUnsigned
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Access":
			access = value
		case "SignedHeaders":
			signed = strings.Split(value, ";")
		case "Signature":
			signature = value
		}
	}
	if access == "" || len(signed) == 0 || signature == "" {
		return "", nil, "", fmt.Errorf("%w: incomplete Authorization header", ErrUnsigned)
	}
	return access, signed, signature, nil
}

func (k Key) signature(r *http.Request, body []byte, signed []string) string {
	var headers strings.Builder
	for _, name := range signed {
		values := slices.Clone(r.Header.Values(name))
		if name == "host" {
			values = []string{r.Host}
		}
		slices.Sort(values)
		for _, value := range values {
			headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
		}
	}
	canonical := strings.Join([]string{
		r.Method, canonicalPath(r.URL), canonicalQuery(r.URL.Query()), headers.String(), strings.Join(signed, ";"), hexSum(body),
	}, "\n")
	mac := hmac.New(sha256.New, []byte(k.SecretKey))
	mac.Write([]byte(algorithm + "\n" + r.Header.Get(dateHeader) + "\n" + hexSum([]byte(canonical))))
	return hex.EncodeToString(mac.Sum(nil))
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// canonicalPath encodes each segment of the path and ends it with a slash.
func canonicalPath(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		if plain, err := url.PathUnescape(segment); err == nil {
			segment = plain
		}
		segments[i] = escape(segment)
	}
	return strings.TrimSuffix(strings.Join(segments, "/"), "/") + "/"
}

// canonicalQuery sorts keys, and the values of each key.
func canonicalQuery(query url.Values) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(query)) {
		for _, value := range slices.Sorted(slices.Values(query[key])) {
			pairs = append(pairs, escape(key)+"="+escape(value))
		}
	}
	return strings.Join(pairs, "&")
}

// escape encodes everything but A-Z a-z 0-9 - _ . ~, byte by byte, in upper case.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

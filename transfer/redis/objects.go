package redis

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// objectScheme begins the name of a file that lies in an object store.
const objectScheme = "s3://"

// ObjectStore is an S3-compatible object store: OBS, S3, MinIO and the like. Objects are asked for by path (ENDPOINT/BUCKET/KEY) with
// AWS Signature Version 4, which all of them take.
type ObjectStore struct {
	Endpoint  string // http or https URL
	Region    string // empty means us-east-1
	AccessKey string // empty: objects that anyone may read
	SecretKey string
}

// get returns a signed request for an object, BUCKET/KEY. Errors: FERRY-REDIS-OBJECTS.
func (o *ObjectStore) get(ctx context.Context, object string) (*http.Request, error) {
	bucket, key, _ := strings.Cut(object, "/")
	if o == nil || o.Endpoint == "" {
		return nil, fault.Operator("FERRY-REDIS-OBJECTS", "name the object store's endpoint and key, or give the file as an https URL",
			errors.New("no object store is configured"))
	}
	base, err := url.Parse(o.Endpoint)
	if err != nil || base.Host == "" || bucket == "" || key == "" {
		return nil, fault.Operator("FERRY-REDIS-OBJECTS", "give the endpoint as https://HOST and the file as s3://BUCKET/KEY",
			fmt.Errorf("object %q", object))
	}
	base.Path = strings.TrimSuffix(base.Path, "/") + "/" + object
	base.RawPath = escapePath(base.Path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String(), nil)
	if err != nil {
		return nil, unreadable(err)
	}
	if o.AccessKey != "" {
		o.sign(request, time.Now())
	}
	return request, nil
}

// noBody is the SHA-256 of nothing.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sign adds the signature of a request without body and query, with all headers it has:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
func (o *ObjectStore) sign(r *http.Request, now time.Time) {
	region := o.Region
	if region == "" {
		region = "us-east-1"
	}
	at := now.UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", at)
	r.Header.Set("X-Amz-Content-Sha256", noBody)
	values := map[string]string{"host": r.URL.Host}
	for name := range r.Header {
		values[strings.ToLower(name)] = strings.TrimSpace(r.Header.Get(name))
	}
	names := slices.Sorted(maps.Keys(values))
	signed := strings.Join(names, ";")
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n\n"
	for _, name := range names {
		canonical += name + ":" + values[name] + "\n"
	}
	canonical += "\n" + signed + "\n" + noBody
	scope := strings.Join([]string{at[:8], region, "s3", "aws4_request"}, "/")
	digest := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", at, scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + o.SecretKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = keyed(key, part)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%x", o.AccessKey, scope, signed, keyed(key, text)))
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// escapePath escapes all but what RFC 3986 calls unreserved, and slashes, as the signature wants it.
func escapePath(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

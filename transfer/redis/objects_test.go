package redis

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The example of AWS' documentation: "GET Object" in sig-v4-header-based-auth.html.
func TestSignature(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	require.NoError(t, err)
	r.Header.Set("Range", "bytes=0-9")
	o := &ObjectStore{AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	o.sign(r, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	require.Equal(t, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
		"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"+
		"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", r.Header.Get("Authorization"))
}

// Any name of an object arrives as it is.
func TestObjectNames(t *testing.T) {
	o := &ObjectStore{Endpoint: "http://127.0.0.1:9000/"}
	for _, key := range []string{"dump.rdb", "a b/ü?x=1#2&%41+.rdb"} {
		r, err := o.get(context.Background(), "bucket/"+key)
		require.NoError(t, err)
		require.Equal(t, "/bucket/"+key, r.URL.Path)
		require.Empty(t, r.URL.RawQuery)
		require.Empty(t, r.Header)
	}
}

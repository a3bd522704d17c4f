package source

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// TestEndAhead: the worker that ends a larger file waits for the one that describes it, or for the end of the pass.
func TestEndAhead(t *testing.T) {
	it := &item{act: actEnd, dir: &file.Dir{}, name: []byte("f\x00"), large: &large{described: make(chan struct{})}}
	w, ended := &worker{}, make(chan error)
	go func() { ended <- w.end(it) }()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	it.large.meta.Kind = file.KindRegular
	close(it.large.described)
	require.NoError(t, <-ended)

	stop := make(chan struct{})
	close(stop)
	w.stop, it.large.described = stop, make(chan struct{})
	require.ErrorIs(t, w.end(it), errStopped)
}

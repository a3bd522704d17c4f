package manifest

import (
	"bytes"
	"io"
)

func reader(b []byte) io.ReaderAt { return bytes.NewReader(b) }

// count reads all entries of a manifest in memory.
func count(b []byte) (n int64, err error) {
	r, err := newReader(reader(b), int64(len(b)), "m")
	if err != nil {
		return 0, err
	}
	for c := r.Cursor(); ; n++ {
		if _, err := c.Next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

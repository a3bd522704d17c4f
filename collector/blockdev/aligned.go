package blockdev

import "io"

// Aligned reads r in whole sectors, whatever is asked of it, as Windows demands of disks and volumes.
func Aligned(r io.ReaderAt, size, sector int64) io.ReaderAt {
	if sector <= 1 {
		return r
	}
	return aligned{r, size, sector}
}

type aligned struct {
	r            io.ReaderAt
	size, sector int64
}

// ReadAt reads the sectors around what is asked.
func (a aligned) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= a.size {
		return 0, io.EOF
	}
	from := off / a.sector * a.sector
	to := min((off+int64(len(p))+a.sector-1)/a.sector*a.sector, a.size)
	buf := make([]byte, to-from)
	n, err := a.r.ReadAt(buf, from)
	if int64(n) <= off-from {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	got := copy(p, buf[off-from:n])
	if got < len(p) {
		if err == nil {
			err = io.EOF
		}
		return got, err
	}
	return got, nil
}

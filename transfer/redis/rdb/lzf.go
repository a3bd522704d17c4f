package rdb

// LZF, as liblzf 3.6 writes it: a control byte below 32 is followed by that many literal bytes and one more; any other one holds in its
// upper three bits a length less 2 (7: a byte with more follows), in its lower five and the next byte a distance back less 1.

// lzfWindow is how far back a reference reaches, bytes.
const lzfWindow = 1 << 13

// lzf appends the size bytes that src stands for to dst.
func lzf(dst, src []byte, size int) ([]byte, error) {
	start := len(dst)
	for len(src) > 0 {
		ctrl := int(src[0])
		src = src[1:]
		if ctrl < 32 {
			if len(src) <= ctrl || len(dst)-start+ctrl >= size {
				return dst, malformed("compressed literals")
			}
			dst = append(dst, src[:ctrl+1]...)
			src = src[ctrl+1:]
			continue
		}
		length := ctrl >> 5
		if length == 7 {
			if len(src) == 0 {
				return dst, malformed("compressed length")
			}
			length += int(src[0])
			src = src[1:]
		}
		if len(src) == 0 {
			return dst, malformed("compressed distance")
		}
		length += 2
		from := len(dst) - (ctrl&0x1f<<8 | int(src[0])) - 1
		src = src[1:]
		if from < start || len(dst)-start+length > size {
			return dst, malformed("compressed reference")
		}
		dst = copyBack(dst, from, length)
	}
	if len(dst)-start != size {
		return dst, malformed("%d bytes where compression promised %d", len(dst)-start, size)
	}
	return dst, nil
}

// copyBack appends length bytes of dst that begin at from; the two may overlap.
func copyBack(dst []byte, from, length int) []byte {
	if from+length <= len(dst) {
		return append(dst, dst[from:from+length]...)
	}
	for i := range length {
		dst = append(dst, dst[from+i])
	}
	return dst
}

// lzfPieces reads stored bytes of the stream and hands on what they stand for, size bytes, in pieces of about piece bytes.
func (in *input) lzfPieces(stored, size uint64, piece int, emit func([]byte) error) error {
	out := make([]byte, 0, lzfWindow+piece+264)
	var total, fresh uint64 // all bytes made; of those in out, the first that was not handed on
	next := func() (int, error) {
		if stored == 0 {
			return 0, malformed("compressed data that ends early")
		}
		stored--
		c, err := in.byte()
		return int(c), err
	}
	for stored > 0 {
		ctrl, err := next()
		if err != nil {
			return err
		}
		had := len(out)
		if out, err = in.lzfToken(out, ctrl, &stored, next); err != nil {
			return err
		}
		if total += uint64(len(out) - had); total > size {
			return malformed("more than the %d bytes that compression promised", size)
		}
		if uint64(len(out))-fresh >= uint64(piece) || stored == 0 {
			if err := emit(out[fresh:]); err != nil {
				return err
			}
			keep := min(len(out), lzfWindow)
			out = append(out[:0], out[len(out)-keep:]...)
			fresh = uint64(keep)
		}
	}
	if total != size {
		return malformed("%d bytes where compression promised %d", total, size)
	}
	return nil
}

// lzfToken appends to out what one control byte and those after it stand for.
func (in *input) lzfToken(out []byte, ctrl int, stored *uint64, next func() (int, error)) ([]byte, error) {
	if ctrl < 32 {
		n := uint64(ctrl + 1)
		if n > *stored {
			return out, malformed("compressed literals")
		}
		*stored -= n
		return in.take(out, n)
	}
	length := ctrl >> 5
	if length == 7 {
		more, err := next()
		if err != nil {
			return out, err
		}
		length += more
	}
	low, err := next()
	if err != nil {
		return out, err
	}
	from := len(out) - (ctrl&0x1f<<8 | low) - 1
	if from < 0 {
		return out, malformed("compressed reference")
	}
	return copyBack(out, from, length+2), nil
}

package codec

// Packer makes payloads ready for the wire, and what came off it ready for use. The zero value is ready. One goroutine at a time:
// it holds the memory of the codecs that were used, see New.
type Packer struct {
	codecs [strengthEnd]Codec
}

// keep is the least saving worth the other side's work: a result over 97 % of the source is dropped.
func worth(packed, raw int) bool { return packed*100 <= raw*97 }

// Pack compresses src with strength s, using the memory of dst (its content is lost). It returns src itself, and None, when s is Off or
// nothing was gained. scratch is dst or its larger replacement, for the next call.
func (p *Packer) Pack(dst, src []byte, s Strength) (out []byte, id ID, scratch []byte, err error) {
	if s == Off || Incompressible(src) {
		return src, None, dst, nil
	}
	c := p.codec(s)
	dst, err = c.Encode(dst[:0], src)
	if err != nil {
		return nil, None, dst, err
	}
	if !worth(len(dst), len(src)) {
		return src, None, dst, nil
	}
	return dst, c.ID(), dst, nil
}

// Unpack returns the decoded src, using the memory of dst (its content is lost). It returns src itself if id is None. More or less than
// raw bytes is an error.
func (p *Packer) Unpack(dst, src []byte, id ID, raw int) (out, scratch []byte, err error) {
	var s Strength
	switch id {
	case None:
		if len(src) != raw {
			return nil, dst, refuse(None, ErrCorrupt)
		}
		return src, dst, nil
	case S2:
		s = Fast
	case Zstd:
		s = Strong
	default:
		return nil, dst, refuse(id, ErrCorrupt)
	}
	dst, err = p.codec(s).Decode(dst[:0], src, raw)
	if err == nil && len(dst) != raw {
		err = refuse(id, ErrCorrupt)
	}
	return dst, dst, err
}

func (p *Packer) codec(s Strength) Codec {
	if p.codecs[s] == nil {
		p.codecs[s] = New(s)
	}
	return p.codecs[s]
}

const (
	probePieces = 32
	probePiece  = 64
	probeSize   = probePieces * probePiece
)

// Incompressible guesses from 2 KiB spread over data whether compressing is pointless: whether its bytes are spread as evenly
// as random ones, which is how encrypted and compressed content looks. Data shorter than that is never called so. A wrong "yes" costs
// bandwidth (content that repeats over a distance, of evenly spread bytes), a wrong "no" costs one attempt.
func Incompressible(data []byte) bool {
	if len(data) < 2*probeSize {
		return false
	}
	var count [256]uint16
	stride := (len(data) - probePiece) / (probePieces - 1)
	for i := range probePieces {
		for _, b := range data[i*stride : i*stride+probePiece] {
			count[b]++
		}
	}
	pairs := 0
	for _, n := range count {
		pairs += int(n) * int(n-1)
	}
	// Of N random bytes N(N-1)/256 ordered pairs are equal, here 16376 with a deviation of 181. Base64 has four times as many.
	const random = probeSize * (probeSize - 1) / 256
	return pairs < random*106/100
}

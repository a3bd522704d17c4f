package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Bounds on what a peer may send.
const (
	MaxBulk  = 1 << 30 // bytes of one string; a server's own bound (proto-max-bulk-len) is 512 MiB unless somebody raised it
	MaxArray = 1 << 24 // elements of one array, arguments of one command
	maxDepth = 16
)

// bufferSize is of a Reader, bytes; a line of the protocol must fit.
const bufferSize = 256 << 10

// ErrProtocol is returned for bytes that are not RESP2. Nothing after them can be understood.
var ErrProtocol = errors.New("not the Redis protocol")

func protocol(format string, args ...any) error {
	return fault.Permanent(fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...)))
}

// Kind is the type of a Reply, the byte that announces it.
type Kind byte

// The kinds of a Reply.
const (
	Status  Kind = '+'
	Failure Kind = '-'
	Integer Kind = ':'
	Bulk    Kind = '$'
	Array   Kind = '*'
	Null    Kind = '_' // a bulk string or an array of length -1
)

// Reply is what a server answers.
type Reply struct {
	Kind  Kind
	Str   []byte // of a Status, a Failure and a Bulk
	Int   int64  // of an Integer
	Array []Reply
}

// Err returns the server's error if the reply is one.
func (r Reply) Err() error {
	if r.Kind != Failure {
		return nil
	}
	return Error(r.Str)
}

// Text returns the reply as a string: of an integer its digits, of anything without text "".
func (r Reply) Text() string {
	if r.Kind == Integer {
		return strconv.FormatInt(r.Int, 10)
	}
	return string(r.Str)
}

// Reader reads replies or commands. It is not safe for concurrent use.
type Reader struct {
	br   *bufio.Reader
	ends []int // of the arguments of the command being read
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{br: bufio.NewReaderSize(r, bufferSize)} }

// Buffer is the Reader's own buffer, for those who read something else in the middle of the stream, an RDB.
func (r *Reader) Buffer() *bufio.Reader { return r.br }

// line reads up to the end of a line and returns it whole; it is valid until the next read.
func (r *Reader) line() ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, protocol("a line of more than %d bytes", bufferSize)
	}
	return line, err
}

// Line reads a line, for what is not RESP: the head of a snapshot. It returns it without its end.
func (r *Reader) Line() (string, error) {
	line, err := r.line()
	if err != nil {
		return "", err
	}
	return string(text(line)), nil
}

// text is a line without its end.
func text(line []byte) []byte { return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}) }

// number parses the decimal after the first byte of a line, at least low and at most high.
func number(line []byte, low, high int64) (int64, error) {
	b := text(line[1:])
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, protocol("a length of %q", line)
	}
	var u uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, protocol("a length of %q", line)
		}
		u = u*10 + uint64(c-'0')
	}
	n := int64(u)
	if negative {
		n = -n
	}
	if n < low || n > high {
		return 0, protocol("%d, not within %d and %d", n, low, high)
	}
	return n, nil
}

// usual replies come by the million and need no memory of their own.
var usual = []struct {
	line  string
	reply Reply
}{
	{"+OK\r\n", Reply{Kind: Status, Str: []byte("OK")}},
	{"+QUEUED\r\n", Reply{Kind: Status, Str: []byte("QUEUED")}},
}

// Reply reads one reply. A server's error is a Reply, not an error.
func (r *Reader) Reply() (Reply, error) { return r.reply(0) }

func (r *Reader) reply(depth int) (Reply, error) {
	line, err := r.line()
	if err != nil {
		return Reply{}, err
	}
	switch kind := Kind(line[0]); kind {
	case Status, Failure:
		for _, usual := range usual {
			if string(line) == usual.line {
				return usual.reply, nil
			}
		}
		return Reply{Kind: kind, Str: bytes.Clone(text(line[1:]))}, nil
	case Integer:
		n, err := number(line, -1<<63, 1<<63-1)
		return Reply{Kind: kind, Int: n}, err
	case Bulk:
		n, err := number(line, -1, MaxBulk)
		if err != nil || n < 0 {
			return Reply{Kind: Null}, err
		}
		str, err := r.take(nil, n+2)
		if err != nil {
			return Reply{}, err
		}
		return Reply{Kind: kind, Str: str[:n]}, ended(str)
	case Array:
		n, err := number(line, -1, MaxArray)
		if err != nil || n < 0 {
			return Reply{Kind: Null}, err
		}
		return r.array(n, depth+1)
	default:
		return Reply{}, protocol("a reply that begins with %q", line[0])
	}
}

func (r *Reader) array(n int64, depth int) (Reply, error) {
	if depth > maxDepth {
		return Reply{}, protocol("arrays nested deeper than %d", maxDepth)
	}
	array := make([]Reply, 0, min(n, 1024))
	for range n {
		e, err := r.reply(depth)
		if err != nil {
			return Reply{}, unexpected(err)
		}
		array = append(array, e)
	}
	return Reply{Kind: Array, Array: array}, nil
}

// take appends n bytes of the stream to buf, which grows as they come.
func (r *Reader) take(buf []byte, n int64) ([]byte, error) {
	const step = 64 << 10
	for n > 0 {
		had := len(buf)
		more := int(min(n, int64(max(step, had))))
		if cap(buf)-had < more {
			buf = append(make([]byte, 0, had+more), buf...)
		}
		buf = buf[:had+more]
		if _, err := io.ReadFull(r.br, buf[had:]); err != nil {
			return buf, unexpected(err)
		}
		n -= int64(more)
	}
	return buf, nil
}

// ended checks the end of a bulk string.
func ended(str []byte) error {
	if !bytes.HasSuffix(str, []byte("\r\n")) {
		return protocol("a string that does not end where it should")
	}
	return nil
}

// unexpected turns the end of the stream within something into io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Command reads one command of a replication stream or an append-only file and appends its raw bytes to buf. The arguments, appended
// to args, point into the returned buffer. A command without arguments is an empty line, which a server sends to show that it lives.
func (r *Reader) Command(buf []byte, args [][]byte) (raw []byte, _ [][]byte, err error) {
	line, err := r.line()
	if err != nil {
		return buf, args, err
	}
	start := len(buf)
	buf = append(buf, line...)
	if line[0] != byte(Array) {
		return buf, append(args, bytes.Fields(buf[start:])...), nil
	}
	n, err := number(line, 0, MaxArray)
	if err != nil {
		return buf, args, err
	}
	r.ends = r.ends[:0]
	for range n {
		if line, err = r.line(); err != nil {
			return buf, args, unexpected(err)
		}
		if line[0] != byte(Bulk) {
			return buf, args, protocol("an argument that begins with %q", line[0])
		}
		size, err := number(line, 0, MaxBulk)
		if err != nil {
			return buf, args, err
		}
		buf = append(buf, line...)
		begin := len(buf)
		if buf, err = r.take(buf, size+2); err != nil {
			return buf, args, err
		}
		if err = ended(buf); err != nil {
			return buf, args, err
		}
		r.ends = append(r.ends, begin, begin+int(size))
	}
	for i := 0; i < len(r.ends); i += 2 {
		args = append(args, buf[r.ends[i]:r.ends[i+1]:r.ends[i+1]])
	}
	return buf, args, nil
}

package device

import (
	"io"
	"sync"
	"unsafe"
)

const (
	bounce  = 1 << 20 // bytes of a pooled buffer
	minimum = 4096    // alignment that every filesystem and disk takes whose sectors are not larger
)

// reader reads a device as its operating system wants it read: from aligned offsets, in aligned lengths, into aligned memory.
type reader struct {
	r     io.ReaderAt // reads behind the end are short, as io.ReaderAt says
	size  int64
	align int // a power of two; 1 when anything goes
}

// readAt reads as io.ReaderAt says. What is not aligned goes through a buffer.
func (r *reader) readAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= r.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), r.size-off)]
	n, err := r.readAll(want, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// readAll fills p, which ends before the end of the device.
func (r *reader) readAll(p []byte, off int64) (int, error) {
	a := int64(r.align)
	if off%a == 0 && int64(len(p))%a == 0 && alignedTo(p, r.align) {
		return readFull(r.r, p, off, len(p))
	}
	buf := takeBuffer(r.align)
	defer giveBuffer(buf)
	done := 0
	for done < len(p) {
		at := off + int64(done)
		from := at &^ (a - 1)
		end := min((off+int64(len(p))+a-1)&^(a-1), from+int64(len(buf)))
		want := int(min(end, off+int64(len(p))) - from)
		n, err := readFull(r.r, buf[:end-from], from, want)
		if skip := int(at - from); n > skip {
			done += copy(p[done:], buf[skip:n])
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readFull reads into b from off, at least need bytes of it; the end of the device may cut off the rest.
func readFull(r io.ReaderAt, b []byte, off int64, need int) (int, error) {
	n, err := r.ReadAt(b, off)
	switch {
	case n >= need:
		return n, nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF // it was longer when it was opened
	}
	return n, err
}

func alignedTo(b []byte, align int) bool {
	return len(b) == 0 || uintptr(unsafe.Pointer(&b[0]))%uintptr(align) == 0
}

// alignedBuffer makes n bytes that begin at a multiple of align, a power of two.
func alignedBuffer(n, align int) []byte {
	b := make([]byte, n+align)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (align - 1)
	return b[skip : skip+n : skip+n]
}

// Buffer returns n bytes of memory that ReadAt and Fill read into without a copy, if offset and length are multiples of 4096 too.
func Buffer(n int) []byte { return alignedBuffer(n, minimum) }

// buffers holds buffers of bounce bytes, aligned to minimum.
var buffers = sync.Pool{New: func() any {
	b := alignedBuffer(bounce, minimum)
	return &b
}}

// takeBuffer returns a buffer of bounce bytes. Sectors larger than minimum are rare: theirs are not pooled.
func takeBuffer(align int) []byte {
	if align > minimum {
		return alignedBuffer(bounce, align)
	}
	return *buffers.Get().(*[]byte)
}

func giveBuffer(b []byte) {
	if len(b) == bounce && alignedTo(b, minimum) {
		buffers.Put(&b)
	}
}

// Package initramfs reads and extends the image of files that a Linux kernel starts with.
//
// An image is a row of cpio archives of the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel):
// microcode in the clear, then the rest, compressed as a whole. A later archive adds to the earlier ones, and a file in it replaces one
// of the same name. So an image can be extended without unpacking it.
//
// Images are read as hostile: sizes are bounded, names are only looked at, nothing is unpacked to disk.
package initramfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Bounds on an image: the largest that distributions make are some 200 MB unpacked.
const (
	maxUnpacked = 1 << 30
	maxName     = 4 << 10
	header      = 110 // bytes: a magic of six, then thirteen hexadecimal numbers of eight digits
	trailer     = "TRAILER!!!"
)

// ErrCompression is that of xz and lz4, which some distributions use and no package here reads.
var ErrCompression = errors.New("compression is not supported")

// Walk calls visit with the name of every entry of the image in r. An image in a compression that cannot be read is ErrCompression,
// after the entries before it were visited.
func Walk(r io.Reader, visit func(name string)) error {
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		if err := archive(in, visit); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Module returns the kernel module that a file holds, spelled as the kernel does, with underscores: "a/virtio-blk.ko.xz" is virtio_blk.
func Module(file string) (name string, ok bool) {
	base, _, ok := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_"), ok
}

// archive reads one archive, unpacking it when its first bytes say so. io.EOF means that there is none left.
func archive(in *bufio.Reader, visit func(string)) error {
	for { // archives are padded with zeroes
		b, err := in.Peek(1)
		if err != nil {
			return err
		}
		if b[0] != 0 {
			break
		}
		if _, err := in.Discard(1); err != nil {
			return err
		}
	}
	magic, _ := in.Peek(6)
	var plain io.Reader
	switch {
	case bytes.HasPrefix(magic, []byte("07070")):
		return entries(in, visit)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return noEOF(err)
		}
		z.Multistream(false) // an archive may follow in the clear
		plain = z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return frame(in, visit)
	case bytes.HasPrefix(magic, []byte("BZh")):
		plain = bzip2.NewReader(in)
	default:
		return ErrCompression
	}
	return unpacked(plain, visit)
}

// unpacked reads the archives that were compressed together.
func unpacked(plain io.Reader, visit func(string)) error {
	inner := bufio.NewReaderSize(io.LimitReader(plain, maxUnpacked), 1<<16)
	for {
		if err := archive(inner, visit); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// entries reads the names in one archive.
func entries(in *bufio.Reader, visit func(string)) error {
	for {
		h := make([]byte, header)
		if _, err := io.ReadFull(in, h); err != nil {
			return fmt.Errorf("cpio header: %w", noEOF(err))
		}
		if !bytes.HasPrefix(h, []byte("07070")) {
			return errors.New("cpio header is malformed")
		}
		size, err1 := strconv.ParseUint(string(h[54:62]), 16, 32)
		length, err2 := strconv.ParseUint(string(h[94:102]), 16, 32)
		if err1 != nil || err2 != nil || length == 0 || length > maxName {
			return errors.New("cpio header is malformed")
		}
		name := make([]byte, (header+length+3)&^3-header)
		if _, err := io.ReadFull(in, name); err != nil {
			return fmt.Errorf("cpio name: %w", noEOF(err))
		}
		end := bytes.IndexByte(name, 0)
		if end < 0 {
			return errors.New("cpio name is malformed")
		}
		if string(name[:end]) == trailer {
			return nil
		}
		visit(string(name[:end]))
		if _, err := io.CopyN(io.Discard, in, int64((size+3)&^3)); err != nil {
			return fmt.Errorf("cpio content: %w", noEOF(err))
		}
	}
}

// noEOF keeps an end in the middle of an archive from looking like the end of the image.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

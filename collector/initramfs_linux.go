package collector

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Bounds on an initramfs: the largest that distributions make are some 200 MB unpacked.
const (
	maxInitramfs = 1 << 30
	maxCPIOName  = 4 << 10
)

// errCompression is that of xz and lz4, which some distributions use and no package here reads.
var errCompression = errors.New("compression is not supported")

// inInitramfs moves the drivers that are in the image from Loadable to Ready. Only names are looked at, nothing is unpacked to disk.
func inInitramfs(ctx context.Context, r root, image string, v *inventory.Virtio) error {
	f, err := os.Open(r.path(image))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer f.Close()
	found, err := modulesIn(contextReader{ctx, f})
	if errors.Is(err, errCompression) {
		return nil // Checked goes on saying that only modules were looked at
	}
	if err != nil {
		return fmt.Errorf("initramfs %s: %w", image, err)
	}
	v.Checked = "modules+initramfs"
	still := []string{}
	for _, d := range v.Loadable {
		if found[d] {
			v.Ready = append(v.Ready, d)
		} else {
			still = append(still, d)
		}
	}
	v.Loadable = still
	return nil
}

// modulesIn lists the kernel modules in an image, which is a row of archives: microcode in the clear, then the rest compressed.
func modulesIn(r io.Reader) (found map[string]bool, err error) {
	found = map[string]bool{}
	in := bufio.NewReaderSize(r, 1<<16)
	for err == nil {
		err = archive(in, found)
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return found, nil
}

// contextReader stops reading when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// archive reads one archive, unpacking it when its first bytes say so. io.EOF means that there is none left.
func archive(in *bufio.Reader, found map[string]bool) error {
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
		return modules(in, found)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		plain = z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return err
		}
		defer z.Close()
		plain = z
	case bytes.HasPrefix(magic, []byte("BZh")):
		plain = bzip2.NewReader(in)
	default:
		return errCompression
	}
	inner := bufio.NewReaderSize(io.LimitReader(plain, maxInitramfs), 1<<16)
	for err := error(nil); ; {
		if err = archive(inner, found); err != nil {
			return err // io.EOF: what is compressed is the last archive of an image
		}
	}
}

// modules reads the names in one cpio archive of the "newc" format: a header of thirteen hexadecimal numbers after a magic of six.
func modules(in *bufio.Reader, found map[string]bool) error {
	const header = 110
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
		if err1 != nil || err2 != nil || length == 0 || length > maxCPIOName {
			return errors.New("cpio header is malformed")
		}
		name := make([]byte, (header+length+3)&^3-header)
		if _, err := io.ReadFull(in, name); err != nil {
			return fmt.Errorf("cpio name: %w", noEOF(err))
		}
		file := cString(name)
		if file == "TRAILER!!!" {
			return nil
		}
		if base, _, ok := strings.Cut(path.Base(file), ".ko"); ok {
			found[strings.ReplaceAll(base, "-", "_")] = true
		}
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

package initramfs

import (
	"fmt"
	"io"
	"os"
)

// File is what Archive packs: a regular file, or a directory, whose parents are in the image already or come before it.
type File struct {
	Name    string // without a leading slash
	Mode    os.FileMode
	Content []byte
}

// Archive writes one archive of files, which belong to root and have no time. It may follow an image at an offset that is a multiple of 4.
func Archive(w io.Writer, files []File) error {
	for i, f := range files {
		mode := uint32(f.Mode.Perm()) | 0o100000
		if f.Mode.IsDir() {
			mode = uint32(f.Mode.Perm()) | 0o040000
		}
		if err := entry(w, i+1, mode, f.Name, f.Content); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	if err := entry(w, 0, 0, trailer, nil); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

func entry(w io.Writer, inode int, mode uint32, name string, content []byte) error {
	h := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	_, err := io.WriteString(w, h+pad[:-len(h)&3])
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		_, err = io.WriteString(w, pad[:-len(content)&3])
	}
	return err
}

const pad = "\x00\x00\x00"

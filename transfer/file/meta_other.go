//go:build !linux

package file

import "errors"

// MetaReader reads metadata of inodes relative to descriptors. Only Linux has it; elsewhere every call fails with
// errors.ErrUnsupported.
type MetaReader struct{}

// Place says which filesystem and mount an inode was reached through.
type Place struct {
	Dev   uint64
	Mount uint64
}

// Stat fails.
func (*MetaReader) Stat(int, []byte, *Entry) (Place, error) { return Place{}, errors.ErrUnsupported }

// Flags fails.
func (*MetaReader) Flags(int, uint64) (flags, project uint32, err error) {
	return 0, 0, errors.ErrUnsupported
}

// Xattrs fails.
func (*MetaReader) Xattrs(int) ([]byte, error) { return nil, errors.ErrUnsupported }

// XattrsAt fails.
func (*MetaReader) XattrsAt(int, []byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// Handle fails.
func (*MetaReader) Handle(int, []byte) (gen uint64, mount int32, err error) {
	return 0, 0, errors.ErrUnsupported
}

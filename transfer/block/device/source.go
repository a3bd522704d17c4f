package device

import (
	"context"
	"fmt"
	"io"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// SourceOptions say how a source may be opened. The zero value is the careful one.
type SourceOptions struct {
	// Tracked says that the caller learns of writes: an image that another program writes is then no reason to refuse it.
	Tracked bool
}

// Source is a device or an image, open for reading. It is safe for concurrent use.
type Source struct {
	facts
	reader
	dev      *blockdev.Device
	patience patience
}

// facts are what a device or an image is, as it was when it was opened.
type facts struct {
	path     string
	sector   int
	device   bool
	cached   string // why reads go through the page cache; "" when they go past it
	identity Identity
}

func factsOf(i blockdev.Info) facts {
	return facts{path: i.Path, sector: int(i.LogicalSector), device: !i.Image}
}

// OpenSource opens a block device or an image file for reading. Errors: FERRY-SOURCE-KIND, FERRY-SOURCE-RIGHTS, FERRY-SOURCE-MISSING,
// FERRY-SOURCE-WRITTEN.
func OpenSource(path string, o SourceOptions) (*Source, error) {
	dev, err := blockdev.Open(path)
	if err != nil {
		return nil, sourceRefused(err)
	}
	s := &Source{dev: dev, facts: factsOf(dev.Info())}
	if err := s.identify(o); err != nil {
		dev.Close()
		return nil, err
	}
	s.reader, s.cached = past(dev)
	return s, nil
}

func (s *Source) identify(o SourceOptions) error {
	h, err := readHost("/")
	if err == nil {
		s.identity, err = h.identify(s.dev.File(), s.dev.Info())
	}
	if err != nil {
		return fault.Permanent(fmt.Errorf("source %s: %w", s.path, err))
	}
	if s.device || o.Tracked {
		return nil
	}
	who, err := h.writers(s.dev.File())
	if err != nil {
		return fault.Permanent(fmt.Errorf("source %s: who writes to it: %w", s.path, err))
	}
	if who != "" {
		return fault.Operator(CodeSourceWritten, "stop what writes to the image, or migrate the device that it is attached as; then run again",
			fmt.Errorf("source %s is open for writing by %s: a copy would be of no point in time", s.path, who))
	}
	return nil
}

// Size returns the size in bytes.
func (s *Source) Size() int64 { return s.size }

// Sector returns the size of a logical sector in bytes; 0 for an image, where nobody knows.
func (s *Source) Sector() int { return s.sector }

// IsDevice reports whether the source is a device, as opposed to an image file.
func (s *Source) IsDevice() bool { return s.device }

// Cached says in a sentence why reads go through the page cache; "" when they go past it.
func (s *Source) Cached() string { return s.cached }

// Identity returns what the source is.
func (s *Source) Identity() Identity { return s.identity }

// ReadAt reads as io.ReaderAt says, at any offset and of any length.
func (s *Source) ReadAt(p []byte, off int64) (int, error) { return s.readAt(p, off) }

// Data returns the ranges that are not holes: those the filesystem tells of an image, everything of a device.
func (s *Source) Data(ctx context.Context) (extent.List, error) {
	if s.size == 0 {
		return nil, nil
	}
	if s.device {
		return extent.List{{Start: 0, Size: s.size}}, nil
	}
	list, err := dataOf(ctx, s.dev.File(), s.size)
	if err != nil {
		return nil, fmt.Errorf("find holes of %s: %w", s.path, err)
	}
	return list, nil
}

// Mounts returns the filesystems mounted from the source, from a part of it, or from something that lies on it. What lies on another comes
// before it: they can be frozen in this order.
func (s *Source) Mounts() ([]Mount, error) {
	h, err := readHost("/")
	if err != nil {
		return nil, fmt.Errorf("mounts of %s: %w", s.path, err)
	}
	return h.mountsOn(s.identity)
}

// Close closes the source. Reads still under way end with an error.
func (s *Source) Close() error { return s.dev.Close() }

var _ io.ReaderAt = (*Source)(nil)

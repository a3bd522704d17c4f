package source

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// dir is where the source is read.
func (c *Config) dir() string {
	if c.View != nil {
		return c.View.Dir
	}
	return c.Root
}

// instant is the point in time up to which a pass that begins now knows of changes.
func (c *Config) instant() file.Time {
	if c.View != nil {
		return fileTime(c.View.Taken)
	}
	return fileTime(time.Now())
}

// alias returns by which subvolume the inodes below fd, the open root, are known in the manifest.
func (c *Config) alias(fd int) (a file.Alias, err error) {
	if c.View == nil {
		return a, nil
	}
	live, err := openNoAtime(unix.AT_FDCWD, c.Root)
	if err != nil {
		return a, sourceError(c.Root, err)
	}
	defer unix.Close(live)
	var m file.MetaReader
	if a.From, err = m.Subvolume(fd); err == nil {
		a.To, err = m.Subvolume(live)
	}
	if err != nil {
		return a, fmt.Errorf("source %s: %w", c.Root, err)
	}
	return a, nil
}

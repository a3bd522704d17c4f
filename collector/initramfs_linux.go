package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/initramfs"
)

// inInitramfs moves the drivers that are in the image from Loadable to Ready. Only names are looked at, nothing is unpacked to disk.
func inInitramfs(ctx context.Context, r root, image string, v *inventory.Virtio) error {
	f, err := os.Open(r.path(image))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer f.Close()
	found, err := modulesIn(contextReader{ctx, f})
	if errors.Is(err, initramfs.ErrCompression) {
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

// modulesIn lists the kernel modules in an image.
func modulesIn(r io.Reader) (map[string]bool, error) {
	found := map[string]bool{}
	err := initramfs.Walk(r, func(name string) {
		if module, ok := initramfs.Module(name); ok {
			found[module] = true
		}
	})
	return found, err
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

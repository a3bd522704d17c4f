package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// listenControl listens on a Unix socket at path that only the owner could ever connect to: it is made in a private directory and
// moved to its place, which also replaces one that a dead process left.
func listenControl(path string) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), ".control.*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.Remove(private)
	temporary := filepath.Join(private, "sock")
	var listener *net.UnixListener
	err = viaDirectory(temporary, func(short string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: short})
		return err
	})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it will be elsewhere
	if err = os.Chmod(temporary, 0o600); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func dialControl(ctx context.Context, path string) (conn net.Conn, err error) {
	err = viaDirectory(path, func(short string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", short)
		return err
	})
	return conn, err
}

// viaDirectory calls do with a name for path that is short enough for a socket address (108 bytes), however deep path is.
func viaDirectory(path string, do func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func removeControl(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

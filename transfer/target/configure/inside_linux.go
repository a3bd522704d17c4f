package configure

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// inside calls run on a thread for which the received system is the root of everything. What run starts from that goroutine starts
// there, as the first process of a namespace that ends with it, without a network. The system is read-only; /tmp and /var/tmp are the
// scratch directory, /proc and /sys those of this machine, /dev has what everyone needs and the devices of the migration.
//
// All of it belongs to the thread: its mounts are in a namespace of their own, which is gone when inside returns and when this process
// dies. Needs root and Linux 5.12, which the agent image has.
func inside(dir string, f Facts, run func() error) error {
	nodes, err := f.nodes()
	if err != nil {
		return err
	}
	// The os package tries once, with a child that ends at once, how it can wait for children. In a new namespace that child would be
	// the first process, and no other could start after it: have it tried here.
	if _, err := os.FindProcess(os.Getpid()); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- withRoot(dir, nodes, run)
	}()
	return <-result
}

func withRoot(dir string, nodes []node, run func() error) error {
	outside, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	defer outside.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	err = enter(dir, nodes)
	if err == nil {
		err = run()
	}
	// Back to the namespace of the others: the mounts of this one are gone when Setns returns, not a moment later.
	return errors.Join(err, unix.Setns(int(outside.Fd()), unix.CLONE_NEWNS))
}

// enter makes dir the root of this thread. Mount points are resolved after that: links of the system lead nowhere else.
func enter(dir string, nodes []node) error {
	if err := errors.Join(
		mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""),
		setattr(dir, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}),
		unix.Chroot(dir), unix.Chdir("/"),
	); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	for _, at := range []string{"/tmp", "/var/tmp"} {
		if err := mount("/"+scratch, at, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := setattr(at, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		at, kind string
		flags    uintptr
	}{{"/proc", "proc", 0}, {"/sys", "sysfs", unix.MS_RDONLY}, {"/run", "tmpfs", 0}, {"/dev", "tmpfs", unix.MS_NOSUID}} {
		if err := mount(m.kind, m.at, m.kind, m.flags, ""); err != nil && (m.at != "/run" || !errors.Is(err, unix.ENOENT)) { // older systems have none
			return err
		}
	}
	for _, n := range nodes {
		if err := n.make(); err != nil {
			return fmt.Errorf("device node %s: %w", n.path, err)
		}
	}
	return nil
}

func mount(source, at, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, at, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s in the received system: %w", at, err)
	}
	return nil
}

func setattr(at string, flags uint, attr *unix.MountAttr) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, at, flags, attr); err != nil {
		return fmt.Errorf("make %s of the received system read-only, or not: %w", at, err)
	}
	return nil
}

// node is one entry of /dev: a device, or a link.
type node struct {
	path string
	mode uint32
	rdev uint64
	to   string
}

// nodes are those that programs get: what everyone needs, the devices of the migration, and their names by UUID, from which
// grub-mkconfig concludes that the system has such names.
func (f *Facts) nodes() ([]node, error) {
	out := []node{{path: "/dev/fd", to: "/proc/self/fd"}, {path: "/dev/stdin", to: "fd/0"}, {path: "/dev/stdout", to: "fd/1"}, {path: "/dev/stderr", to: "fd/2"}}
	for i, name := range []string{"null", "zero", "full", "random", "urandom"} { // Documentation/admin-guide/devices.txt
		out = append(out, node{path: "/dev/" + name, mode: unix.S_IFCHR | 0o666, rdev: unix.Mkdev(1, []uint32{3, 5, 7, 8, 9}[i])})
	}
	names := append([]string{}, f.Devices...)
	for _, fs := range f.Filesystems {
		names = append(names, fs.Device)
		if fs.UUID != "" && !strings.ContainsAny(fs.UUID, "/\x00") {
			out = append(out, node{path: "/dev/disk/by-uuid/" + fs.UUID, to: fs.Device})
		}
	}
	for _, name := range append(names, "/dev/mapper/control") {
		var st unix.Stat_t
		err := unix.Stat(name, &st)
		if name == "/dev/mapper/control" && err != nil {
			continue // no device-mapper here
		}
		if err != nil || path.Dir(name) == "/" || path.Clean(name) != name || !strings.HasPrefix(name, "/dev/") {
			return nil, fmt.Errorf("device %s: %w", name, errors.Join(err, os.ErrInvalid))
		}
		out = append(out, node{path: name, mode: st.Mode, rdev: st.Rdev})
	}
	return out, nil
}

func (n node) make() error {
	if err := os.MkdirAll(path.Dir(n.path), 0o755); err != nil {
		return err
	}
	var err error
	if n.to != "" {
		err = unix.Symlink(n.to, n.path)
	} else {
		err = unix.Mknod(n.path, n.mode, int(n.rdev))
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

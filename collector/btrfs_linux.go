package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/collector/probe"
)

// Requests of linux/include/uapi/linux/btrfs.h; the sizes are part of the numbers.
const (
	btrfsTreeSearch = 0xD0009411
	btrfsInoLookup  = 0xD0009412
	btrfsDevInfo    = 0xD000941E
	btrfsFSInfo     = 0x8400941F
	btrfsRootTree   = 1
	btrfsSys        = "sys/fs/btrfs"
)

// liveBtrfs describes all Btrfs filesystems: a mounted one as the kernel sees it, any other from its trees.
func (in inspector) liveBtrfs(ctx context.Context, r root, all []carrier) (out []inventory.Btrfs) {
	ids, by := members(all)
	var mounts map[string]string
	for _, id := range ids {
		if !r.exists(filepath.Join(btrfsSys, id, "allocation")) {
			out = append(out, in.unmountedBtrfs(ctx, by[id]))
			continue
		}
		if mounts == nil {
			mounts = btrfsMounts(ctx, r)
		}
		fs := mountedBtrfs(r, id, by[id])
		set, err := patiently(ctx, func() (*probe.BtrfsSubvolumes, error) { return searchRoots(mounts[id]) })
		if err != nil {
			fs.Problems = append(fs.Problems, "subvolumes: "+reason(err))
		} else {
			fs.DefaultSubvolume = set.Default
			fs.Subvolumes = set.ListMounted(func(tree, inode uint64) (string, error) { return lookupPath(mounts[id], tree, inode) })
		}
		if err := numberDevices(ctx, mounts[id], fs.Devices); err != nil {
			fs.Problems = append(fs.Problems, "devices: "+reason(err))
		}
		out = append(out, fs)
	}
	return out
}

// btrfsMounts maps the UUID of each mounted Btrfs filesystem to one directory of it.
func btrfsMounts(ctx context.Context, r root) map[string]string {
	out := map[string]string{}
	list, err := readMounts(r)
	if err != nil {
		return out
	}
	seen := map[string]bool{}
	for _, m := range list {
		if m.Type != "btrfs" || seen[m.Source+m.Number] {
			continue
		}
		seen[m.Source+m.Number] = true
		id, err := patiently(ctx, func() (string, error) { return btrfsID(m.Path) })
		if err == nil && out[id] == "" {
			out[id] = m.Path
		}
	}
	return out
}

func btrfsID(path string) (string, error) {
	var info [1024]byte // struct btrfs_ioctl_fs_info_args: the UUID is at 16
	if err := btrfsCall(path, btrfsFSInfo, info[:]); err != nil {
		return "", err
	}
	return uuidText(info[16:32]), nil
}

// numberDevices asks the kernel for the number of each device of a mounted filesystem and for the bytes in its chunks: on the devices
// themselves they may be old.
func numberDevices(ctx context.Context, path string, devices []inventory.BtrfsDevice) error {
	type told struct{ id, used, size uint64 }
	by, err := patiently(ctx, func() (map[string]told, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var info [1024]byte // struct btrfs_ioctl_fs_info_args begins with the highest number of a device
		if err := btrfsIoctl(f, btrfsFSInfo, info[:]); err != nil {
			return nil, err
		}
		le, out := binary.LittleEndian, map[string]told{}
		for id := uint64(1); id <= min(le.Uint64(info[:]), maxBtrfsDevice); id++ {
			var arg [4096]byte // struct btrfs_ioctl_dev_info_args: number, UUID, bytes in chunks, size
			le.PutUint64(arg[:], id)
			if err := btrfsIoctl(f, btrfsDevInfo, arg[:]); errors.Is(err, unix.ENODEV) {
				continue // removed
			} else if err != nil {
				return nil, err
			}
			out[uuidText(arg[8:24])] = told{id, le.Uint64(arg[24:]), le.Uint64(arg[32:])}
		}
		return out, nil
	})
	for i := range devices {
		d := &devices[i]
		if t, ok := by[d.UUID]; ok {
			d.ID, d.Used, d.Size = t.id, int64(t.used), int64(t.size)
		}
	}
	return err
}

// maxBtrfsDevice bounds the numbers that are tried: each replaced device takes a new one.
const maxBtrfsDevice = 4096

func uuidText(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func btrfsCall(path string, request uint, arg []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return btrfsIoctl(f, request, arg)
}

func btrfsIoctl(f *os.File, request uint, arg []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
		return fmt.Errorf("ask Btrfs about %s: %w", f.Name(), errno)
	}
	return nil
}

// mountedBtrfs reads what the kernel shows of a mounted filesystem (linux/fs/btrfs/sysfs.c).
func mountedBtrfs(r root, id string, list []carrier) inventory.Btrfs {
	dir := filepath.Join(btrfsSys, id)
	fs := inventory.Btrfs{
		UUID: id, Label: r.read(dir + "/label"), NodeSize: r.number(dir + "/nodesize"), SectorSize: r.number(dir + "/sectorsize"),
		Features: r.names(dir + "/features"), Profiles: []inventory.BtrfsProfile{}, Subvolumes: []inventory.Subvolume{}, MountPaths: []string{},
		NumDevices: len(r.names(dir + "/devices")),
	}
	for _, c := range list {
		fs.Devices = append(fs.Devices, inventory.BtrfsDevice{UUID: c.content.Member, Name: c.name, Size: c.content.Size})
		fs.Size += c.content.Size
	}
	for _, kind := range []string{"data", "metadata", "system", "mixed"} {
		at := filepath.Join(dir, "allocation", kind)
		for _, profile := range r.names(at) {
			if !r.exists(filepath.Join(at, profile, "total_bytes")) {
				continue
			}
			p := inventory.BtrfsProfile{
				Kind: strings.Replace(kind, "mixed", "data+metadata", 1), Profile: profileName(profile),
				Size: r.number(filepath.Join(at, profile, "total_bytes")), Used: r.number(filepath.Join(at, profile, "used_bytes")),
			}
			fs.Used += p.Used
			fs.Profiles = append(fs.Profiles, p)
		}
	}
	if size := r.number(dir + "/allocation/global_rsv_size"); size > 0 {
		fs.Profiles = append(fs.Profiles, inventory.BtrfsProfile{
			Kind: "GlobalReserve", Profile: "single", Size: size, Used: max(0, size-r.number(dir+"/allocation/global_rsv_reserved")),
		})
	}
	if len(fs.Devices) < fs.NumDevices {
		fs.Problems = append(fs.Problems, "not all of its devices were found")
	}
	return fs
}

func profileName(s string) string {
	if s == "single" {
		return s
	}
	return strings.ToUpper(s)
}

// searchRoots asks the kernel for the items of the tree of tree roots, page after page.
func searchRoots(path string) (*probe.BtrfsSubvolumes, error) {
	if path == "" {
		return nil, fmt.Errorf("no directory of it can be opened")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	set := &probe.BtrfsSubvolumes{}
	le := binary.LittleEndian
	var object, offset uint64
	var kind uint32
	for {
		// struct btrfs_ioctl_search_key: tree, then lowest and highest object, offset and transaction, then types and count.
		arg := make([]byte, 4096)
		for i, v := range []uint64{btrfsRootTree, object, ^uint64(0), offset, ^uint64(0), 0, ^uint64(0)} {
			le.PutUint64(arg[8*i:], v)
		}
		le.PutUint32(arg[56:], kind)
		le.PutUint32(arg[60:], 255)
		le.PutUint32(arg[64:], 4096)
		if err := btrfsIoctl(f, btrfsTreeSearch, arg); err != nil {
			return nil, err
		}
		n := le.Uint32(arg[64:])
		if n == 0 {
			return set, nil
		}
		items := arg[104:]
		for ; n > 0 && len(items) >= 32; n-- {
			object, offset, kind = le.Uint64(items[8:]), le.Uint64(items[16:]), le.Uint32(items[24:])
			size := int(le.Uint32(items[28:]))
			if size > len(items)-32 {
				return nil, fmt.Errorf("the kernel's answer is cut short")
			}
			if err := set.Add(object, byte(kind), offset, items[32:32+size]); err != nil {
				return nil, err
			}
			items = items[32+size:]
		}
		if offset++; offset == 0 { // the next key after the last one seen
			if kind++; kind > 255 {
				kind = 0
				object++
			}
		}
	}
}

// lookupPath asks for the path of a directory inside a subvolume; it ends in a slash, and is empty for the top.
func lookupPath(path string, tree, inode uint64) (string, error) {
	var arg [4096]byte
	binary.LittleEndian.PutUint64(arg[:], tree)
	binary.LittleEndian.PutUint64(arg[8:], inode)
	if err := btrfsCall(path, btrfsInoLookup, arg[:]); err != nil {
		return "", err
	}
	name := arg[16:]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return string(name), nil
}

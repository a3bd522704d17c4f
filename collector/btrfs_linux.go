package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
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
	h := hex.EncodeToString(info[16:32])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
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

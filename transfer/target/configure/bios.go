package configure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Where things lie in the first sector of a disk, and in what grub-mkimage makes (include/grub/i386/pc/boot.h of GRUB).
const (
	sector     = 512
	bootCode   = 440   // bytes of code; the signature of the disk and the table of partitions follow
	kernelAt   = 0x5c  // in boot.img: 8 bytes, the sector that it loads
	driveCheck = 0x66  // in boot.img: 2 bytes, a jump over the test for a floppy disk
	blocksAt   = 0x1f4 // in the first sector of a core image: where the rest of it is
	loadAt     = 0x820 // segment that it is loaded to
	maxCore    = 2 << 20
)

// biosLoader puts GRUB on the boot disks, as grub-install would: its modules in its directory, the core image behind the table of
// partitions, and the code that loads it in the first sector.
func (s *system) biosLoader(ctx context.Context) error {
	if len(s.facts.BootDisks) == 0 {
		return fault.Operator(CodeFacts, "name the disk that the firmware starts from", errors.New("the firmware is a BIOS, and no boot disk is known"))
	}
	modules := s.grubModules("i386-pc")
	if modules == "" || s.program("grub2-mkimage", "grub-mkimage") == "" {
		if !slices.ContainsFunc(s.facts.BootDisks, func(d BootDisk) bool { return !hasBootCode(d) }) {
			s.warn("GRUB on the boot disk is left as it came: the system has no grub-mkimage to make it anew")
			return nil
		}
		return fault.Operator(CodeLoader, "install GRUB for BIOS on the source and sync again (Debian: grub-pc-bin; RHEL: grub2-pc-modules and grub2-tools; Alpine: grub-bios), or move the disk block level",
			errors.New("the firmware is a BIOS, and the system has no GRUB for it"))
	}
	if err := s.copyModules(modules); err != nil {
		return err
	}
	boot, err := s.read(modules + "/boot.img")
	if err != nil || len(boot) != sector {
		return fmt.Errorf("GRUB's boot.img: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	for _, d := range s.facts.BootDisks {
		table := "part_msdos"
		if d.GPT {
			table = "part_gpt"
		}
		if err := s.grubImage(ctx, modules, "i386-pc", []string{"biosdisk", table}); err != nil {
			return err
		}
		core, err := s.read(path.Join(scratch, "core"))
		if err != nil {
			return err
		}
		if err := s.embed(d, []byte(boot), []byte(core)); err != nil {
			return fmt.Errorf("GRUB on %s: %w", d.Device, err)
		}
	}
	return nil
}

// grubModules returns the directory with GRUB's modules for a platform, "" if there is none that is complete.
func (s *system) grubModules(platform string) string {
	for _, dir := range []string{"/usr/lib/grub/", "/usr/lib/grub2/", "/usr/share/grub2/", s.grubDir() + "/"} {
		if s.isFile(dir + platform + "/kernel.img") {
			return dir + platform
		}
	}
	return ""
}

// copyModules puts GRUB's modules where its core image looks for them.
func (s *system) copyModules(from string) error {
	dir := path.Join(s.grubDir(), path.Base(from))
	for _, name := range slices.Concat(s.glob(from+"/*.mod"), s.glob(from+"/*.lst")) {
		if err := s.copy(name, path.Join(dir, path.Base(name)), "module of GRUB"); err != nil {
			return err
		}
	}
	return nil
}

// grubImage has the system's grub-mkimage make /tmp/core, which finds GRUB's directory by the UUID of its filesystem.
func (s *system) grubImage(ctx context.Context, modules, platform string, with []string) error {
	fs, dir := s.facts.holds(s.grubDir())
	module := map[string]string{"ext2": "ext2", "ext3": "ext2", "ext4": "ext2", "xfs": "xfs", "btrfs": "btrfs", "vfat": "fat", "f2fs": "f2fs", "jfs": "jfs", "reiserfs": "reiserfs"}[fs.Type]
	if module == "" || fs.UUID == "" || strings.ContainsAny(fs.UUID+dir, " \t\n'\"$;{}") {
		return fault.Operator(CodeLoader, "put /boot on ext4, XFS or Btrfs", fmt.Errorf("GRUB cannot read %s, which holds %s", fs.Type, s.grubDir()))
	}
	if crypt, _ := shellValue(s.text("/etc/default/grub"), "GRUB_ENABLE_CRYPTODISK"); crypt == "y" || crypt == "true" {
		return fault.Operator(CodeLoader, "put /boot on a filesystem of its own that is not encrypted", errors.New("GRUB would have to open an encrypted /boot (GRUB_ENABLE_CRYPTODISK)"))
	}
	with = append(with, module, "search_fs_uuid")
	switch {
	case strings.HasPrefix(mapperName(fs.Device), "/dev/mapper/"):
		with = append(with, "lvm", "diskfilter", "mdraid1x", "mdraid09")
	case strings.HasPrefix(fs.Device, "/dev/md"):
		with = append(with, "diskfilter", "mdraid1x", "mdraid09")
	}
	early := "search.fs_uuid " + fs.UUID + " root\nset prefix=($root)" + dir + "\n"
	argv := []string{s.program("grub2-mkimage", "grub-mkimage"), "-O", platform, "-d", modules, "-o", "/tmp/core", "-p", dir, "-c", "/tmp/given"}
	return s.runWith(ctx, early, append(argv, with...)...)
}

// holds returns the filesystem that a path is on, and the path from its top.
func (f *Facts) holds(name string) (*Filesystem, string) {
	for at := name; ; at = path.Dir(at) {
		if fs := f.at(at); fs != nil {
			return fs, path.Join("/", fs.Subvolume, strings.TrimPrefix(name, at))
		}
		if at == "/" {
			return &Filesystem{}, name
		}
	}
}

// embed writes the core image and then the code that loads it.
func (s *system) embed(d BootDisk, boot, core []byte) error {
	core = append(core, make([]byte, (sector-len(core)%sector)%sector)...)
	if d.CoreAt < sector || d.CoreAt%sector != 0 || len(core) < 2*sector || int64(len(core)) > min(d.Core, maxCore) {
		return fault.Operator(CodeLoader, "leave 1 MiB before the first partition, or make a BIOS boot partition of that size",
			fmt.Errorf("GRUB's core image has %d bytes, and there is room for %d", len(core), d.Core))
	}
	at := uint64(d.CoreAt / sector)
	binary.LittleEndian.PutUint64(boot[kernelAt:], at)
	copy(boot[driveCheck:], "\x90\x90")
	binary.LittleEndian.PutUint64(core[blocksAt:], at+1)
	binary.LittleEndian.PutUint16(core[blocksAt+8:], uint16(len(core)/sector-1))
	binary.LittleEndian.PutUint16(core[blocksAt+10:], loadAt)
	if err := s.patch(d, d.CoreAt, min(d.Core, maxCore), core, "GRUB's core image"); err != nil {
		return err
	}
	return s.patch(d, 0, bootCode, boot[:bootCode], "code that loads GRUB")
}

// patch writes bytes of a boot disk, unless they are there. What was there, room bytes of it, goes into the journal first, once.
func (s *system) patch(d BootDisk, at, room int64, data []byte, why string) error {
	old, err := readDisk(d.Device, at, room)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(old, data) {
		return nil
	}
	if !slices.ContainsFunc(s.journal.records, func(r record) bool { return r.Device == d.Device && r.At == at }) {
		if err := s.journal.begin(); err != nil {
			return err
		}
		if err := s.journal.add(record{Device: d.Device, At: at, Saved: base64.StdEncoding.EncodeToString(old)}); err != nil {
			return err
		}
	}
	if err := writeDisk(d.Device, at, data); err != nil {
		return err
	}
	s.report.Changes = append(s.report.Changes, Change{Step: s.step, Path: d.Device, Why: why, Backup: "/" + lines})
	return nil
}

// hasBootCode reports whether the first sector of a disk would start something.
func hasBootCode(d BootDisk) bool {
	b, err := readDisk(d.Device, 0, sector)
	return err == nil && b[510] == 0x55 && b[511] == 0xaa && !bytes.Equal(b[:bootCode], make([]byte, bootCode))
}

func readDisk(device string, at, n int64) ([]byte, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, at)
	return b, err
}

// writeDisk returns once the bytes are on the disk.
func writeDisk(device string, at int64, b []byte) (err error) {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Sync()
}

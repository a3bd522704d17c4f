package configure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Facts are what the target knows of its own machine and of the disks it laid out.
type Facts struct {
	UEFI        bool // the firmware starts a loader from the EFI system partition; else it is a BIOS
	Filesystems []Filesystem
	BootDisks   []BootDisk // those that a BIOS may start from
	NICs        []NIC
	// Devices are the nodes that programs of the system may see: disks, partitions and volumes, "/dev/vda1".
	Devices []string
}

// Filesystem is one filesystem, swap area or LUKS container of the target.
type Filesystem struct {
	Device    string   // "/dev/vda2", "/dev/mapper/vg0-root"
	UUID      string   // as blkid spells it
	Label     string   // "" if none
	Type      string   // as in fstab: "ext4", "vfat", "swap"; "crypto_LUKS"
	Mount     string   // where it is mounted below the root: "/", "/boot"; "" if it is not
	Subvolume string   // Btrfs: path of the mounted subvolume below the top level, "@"; "" if that itself is mounted
	Was       []string // what the source called it, as in fstab: "/dev/sda1", "/dev/disk/by-path/…", "UUID=…" if that changed
}

// BootDisk is a disk with room for GRUB's core image: the BIOS boot partition of a GPT, or the gap behind an MBR.
type BootDisk struct {
	Device string
	CoreAt int64 // bytes from the start of the disk, a multiple of 512
	Core   int64 // bytes of room
	GPT    bool
}

// NIC is a network interface that takes the place of one of the source.
type NIC struct {
	MAC    string // of the target
	WasMAC string // of the source
	Was    string // its name on the source: "eth0", "ens192"
}

// Network says what becomes of the network configuration.
type Network string

// The choices for the network. NetworkDHCP and NetworkStatic do not depend on what the interface is called.
const (
	NetworkKeep   Network = ""       // as on the source; interfaces get their old names by Facts.NICs
	NetworkDHCP   Network = "dhcp"   // every wired interface asks for an address
	NetworkStatic Network = "static" // the first interface has Options.Addresses
)

// Options are what a person may choose.
type Options struct {
	Network           Network
	Addresses         []string // NetworkStatic: "192.0.2.10/24"
	Gateway           string   // NetworkStatic: "192.0.2.1" or ""
	DNS               []string // NetworkStatic
	Hostname          string   // "": as on the source
	Serial            string   // serial console, "ttyS0"; "": as on the source
	NewMachineID      bool     // for a clone that will run beside its source
	NewHostKeys       bool     // for the same
	DisableCloudInit  bool
	DisableOldAgents  bool // guest agents of the platform that the source ran on
	WithoutRelabeling bool // do not have SELinux label all files at the first start
	Log               *slog.Logger
}

// Report is what was done and what was found.
type Report struct {
	Family   Family
	Loader   string // "grub2", "systemd-boot", …
	Changes  []Change
	Warnings []string
}

// Change is one file, link, directory or boot sector that was changed. Paths are as the system will see them.
type Change struct {
	Step   string
	Path   string // a device for boot sectors
	Why    string
	Backup string // "" if there was nothing before
}

// The codes of what an operator has to change.
const (
	CodeWindows  = "FERRY-CONFIGURE-WINDOWS"   // a Windows system
	CodeNotLinux = "FERRY-CONFIGURE-NO-SYSTEM" // nothing there that looks like Linux
	CodeLoader   = "FERRY-CONFIGURE-LOADER"    // no boot loader that could be made to work
	CodeKernel   = "FERRY-CONFIGURE-KERNEL"    // no kernel that could be started
	CodeChoice   = "FERRY-CONFIGURE-CHOICE"    // Options that cannot be
	CodeFacts    = "FERRY-CONFIGURE-FACTS"     // Facts without a root filesystem
)

// step is one part of the work. It may be run again after any failure.
type step struct {
	name string
	run  func(ctx context.Context, s *system) error
}

// steps, in order: the initramfs and the boot loader take up what was decided before them.
var steps = []step{
	{"fstab", fstab}, {"crypttab", crypttab}, {"lvm", lvmDevices},
	{"network", network}, {"hostname", hostname}, {"identity", identity}, {"agents", agents},
	{"initramfs", images}, {"command line", commandLines}, {"console", console}, {"boot loader", loader}, {"selinux", relabel},
}

// system is the received system while it is worked on.
type system struct {
	*tree
	facts   Facts
	options Options
	report  *Report
	log     *slog.Logger
}

// Run makes the system below root start on the machine that facts describe. It may be run again, also after a failure or a crash, and
// then changes only what is not right yet; the report lists the changes of this run. Errors: those with a Code above, and those of the
// disk. The caller has mounted all of Facts.Filesystems that have a Mount, and lets nobody else write there.
func Run(ctx context.Context, root string, f Facts, o Options) (Report, error) {
	r := &Report{}
	s, err := open(root, f, o, r)
	if err != nil {
		return *r, err
	}
	defer s.close()
	if err := s.checkFacts(); err != nil {
		return *r, err
	}
	if err := o.check(); err != nil {
		return *r, err
	}
	if err := s.finish(); err != nil {
		return *r, err
	}
	for _, st := range steps {
		if err := ctx.Err(); err != nil {
			return *r, context.Cause(ctx)
		}
		s.step = st.name
		if err := st.run(ctx, s); err != nil {
			return *r, fmt.Errorf("configure %s: %w", st.name, err)
		}
	}
	return *r, nil
}

// Undo puts back everything that Run changed below root, and then forgets it. It may be run again after a crash, and does nothing where
// Run changed nothing. Boot sectors are restored on the boot disks of facts only.
func Undo(ctx context.Context, root string, f Facts) error {
	t, err := openTree(root, &Report{})
	if err != nil {
		return err
	}
	defer t.close()
	return t.undo(ctx, f.BootDisks)
}

// open looks at what kind of system lies below root.
func open(root string, f Facts, o Options, r *Report) (*system, error) {
	t, err := openTree(root, r)
	if err != nil {
		return nil, err
	}
	s := &system{tree: t, facts: f, options: o, report: r, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	r.Family, err = s.family()
	if err != nil {
		t.close()
		return nil, err
	}
	return s, nil
}

// checkFacts refuses facts that would make an unbootable system.
func (s *system) checkFacts() error {
	if s.facts.at("/") == nil {
		return fault.Operator(CodeFacts, "lay out the disks first, and name the filesystem that is mounted at /", errors.New("no filesystem is known as the root of the system"))
	}
	return nil
}

// warn adds to the report what a person should know.
func (s *system) warn(format string, args ...any) {
	s.report.Warnings = append(s.report.Warnings, fmt.Sprintf(format, args...))
}

// missing reports whether err says that there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// at returns the filesystem mounted at a path, nil if none is.
func (f *Facts) at(mount string) *Filesystem {
	for i := range f.Filesystems {
		if f.Filesystems[i].Mount == mount {
			return &f.Filesystems[i]
		}
	}
	return nil
}

// esp returns where the EFI system partition is mounted, "" if it is not.
func (f *Facts) esp() string {
	for _, mount := range []string{"/boot/efi", "/efi", "/boot"} {
		if fs := f.at(mount); fs != nil && fs.Type == "vfat" {
			return mount
		}
	}
	return ""
}

// perm of what is made where nothing was.
const (
	permFile os.FileMode = 0o644
	permDir  os.FileMode = 0o755
)

// warnOnce is warn for what may be met in many places.
func (s *system) warnOnce(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(s.report.Warnings, text) {
		s.report.Warnings = append(s.report.Warnings, text)
	}
}

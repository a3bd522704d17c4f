package inventory

// DiskKind says what a block device is.
type DiskKind string

// The kinds of block device.
const (
	KindDisk      DiskKind = "disk"      // hardware, or what the hypervisor shows as such
	KindMultipath DiskKind = "multipath" // one disk behind several paths
	KindRAID      DiskKind = "raid"      // md array
	KindCrypt     DiskKind = "crypt"     // opened encrypted volume
	KindLoop      DiskKind = "loop"
	KindZRAM      DiskKind = "zram"
	KindCDROM     DiskKind = "cdrom"
	KindFloppy    DiskKind = "floppy"
	KindMapper    DiskKind = "mapper" // any other device-mapper device
	KindNetwork   DiskKind = "network"
	KindMemory    DiskKind = "memory" // ram disk, pmem, flash
	KindImage     DiskKind = "image"  // an image file given by name
)

// Disk is one block device that is neither a partition nor a logical volume.
type Disk struct {
	Name   string   `json:"name"`             // /dev/sda, \\.\PhysicalDrive0, or the image file
	Kind   DiskKind `json:"kind"`             //
	Number string   `json:"number,omitempty"` // major:minor
	Size   int64    `json:"size"`
	// LogicalSector is the unit of the partition table, PhysicalSector the unit the disk writes; bytes.
	LogicalSector  int64    `json:"logical_sector"`
	PhysicalSector int64    `json:"physical_sector"`
	Vendor         string   `json:"vendor,omitempty"`
	Model          string   `json:"model,omitempty"`
	Serial         string   `json:"serial,omitempty"`
	WWN            string   `json:"wwn,omitempty"`       // world-wide name, NVMe EUI or NGUID
	Transport      string   `json:"transport,omitempty"` // virtio, nvme, scsi, sata, usb, xen, mmc …
	Rotational     bool     `json:"rotational"`
	Removable      bool     `json:"removable"`
	ReadOnly       bool     `json:"read_only"`
	ReadWait       float64  `json:"read_wait_ms,omitempty"` // milliseconds a read took on average since the system started; 0 when not known
	Paths          []string `json:"paths,omitempty"`        // all the names the same disk is seen by, when there are several
	Slaves         []string `json:"slaves,omitempty"`       // devices this one is made of
	Holders        []string `json:"holders,omitempty"`      // devices made of this one as a whole
	Detail         string   `json:"detail,omitempty"`       // RAID level, backing file, device-mapper name

	Table      *Table      `json:"table,omitempty"`   // nil when there is none
	Partitions []Partition `json:"partitions"`        //
	Content    *Content    `json:"content,omitempty"` // on the whole disk, when there is no partition table
	Unread     string      `json:"unread,omitempty"`  // why nothing is known of what is on it
}

// Real reports whether the disk can be a disk of the migrated server, as opposed to something the system makes of others.
func (d *Disk) Real() bool { return d.Kind == KindDisk || d.Kind == KindMultipath }

// Style is the kind of a partition table.
type Style string

// The kinds of partition table.
const (
	StyleGPT Style = "GPT"
	StyleMBR Style = "MBR"
)

// Table is the partition table of a disk.
type Table struct {
	Style Style  `json:"style"`
	ID    string `json:"id"` // GPT disk GUID, or MBR signature as eight hexadecimal digits
	// Hybrid is true for a GPT whose MBR names real partitions too.
	Hybrid bool `json:"hybrid,omitempty"`
	// FirstUsable and LastUsable bound, in bytes, where partitions may lie; LastUsable is exclusive. Only for GPT.
	FirstUsable int64 `json:"first_usable,omitempty"`
	LastUsable  int64 `json:"last_usable,omitempty"`
	// BootCode is true when the first sector holds something that a BIOS could start.
	BootCode bool     `json:"boot_code"`
	Problems []string `json:"problems,omitempty"` // damage that was found and worked around
}

// Partition is one entry of a partition table.
type Partition struct {
	Index    int      `json:"index"` // as the kernel counts: sda3 has index 3
	Name     string   `json:"name"`  // device name; for an image the file with #index
	Number   string   `json:"number,omitempty"`
	Start    int64    `json:"start"` // bytes from the start of the disk
	Size     int64    `json:"size"`
	Type     string   `json:"type"`               // GPT type GUID, or MBR type as two hexadecimal digits
	TypeName string   `json:"type_name"`          // what a person calls it, "" when not known
	UUID     string   `json:"uuid,omitempty"`     // PARTUUID
	Label    string   `json:"label,omitempty"`    // GPT partition name
	Bootable bool     `json:"bootable,omitempty"` // MBR active, or GPT legacy BIOS bootable
	Logical  bool     `json:"logical,omitempty"`  // MBR: inside the extended partition
	Extended bool     `json:"extended,omitempty"` // MBR: contains the logical ones
	Content  *Content `json:"content,omitempty"`
	Holders  []string `json:"holders,omitempty"`
	// Active is true when the system knows the partition too; a table that changed after it was read may differ.
	Active bool   `json:"active"`
	Unread string `json:"unread,omitempty"`
}

// Class says what to do with content.
type Class string

// The classes of content.
const (
	ClassFilesystem Class = "filesystem"
	ClassSwap       Class = "swap"
	ClassMember     Class = "member" // part of something larger: LVM, md, ZFS, an encrypted volume
	ClassBoot       Class = "boot"   // boot code without a filesystem
)

// Content is what the bytes of a disk, partition or volume say they are.
type Content struct {
	// Type is what blkid calls it: ext2, ext3, ext4, xfs, btrfs, ntfs, vfat, exfat, swap, LVM2_member, crypto_LUKS,
	// linux_raid_member, zfs_member, iso9660, squashfs, f2fs, bcache, BitLocker …; "biosboot" for GRUB's core image.
	Type    string `json:"type"`
	Class   Class  `json:"class"`
	Version string `json:"version,omitempty"`
	Label   string `json:"label,omitempty"`
	UUID    string `json:"uuid,omitempty"`
	// Member is the UUID of this one device of a filesystem or array on several.
	Member    string   `json:"member,omitempty"`
	BlockSize int64    `json:"block_size,omitempty"` // unit of allocation: block, or cluster
	Size      int64    `json:"size,omitempty"`       // bytes it spans, by its own account
	Usage     *Usage   `json:"usage,omitempty"`
	Inodes    *Inodes  `json:"inodes,omitempty"`
	Features  []string `json:"features,omitempty"`
	// Dirty is true when the content was not cleanly unmounted, or is mounted now.
	Dirty bool     `json:"dirty,omitempty"`
	Also  []string `json:"also,omitempty"` // other types whose signature was found: left over, or ambiguous
	// Problems are things in the superblock that do not fit; the content may be damaged.
	Problems []string `json:"problems,omitempty"`
}

// Usage is how full a filesystem is, in bytes.
type Usage struct {
	Used int64 `json:"used"`
	Free int64 `json:"free"` // also what is kept back for root
	// Source says where the numbers come from: "statfs" for a mounted filesystem, else "superblock" or "bitmap".
	Source string `json:"source"`
}

// Inodes counts the inodes of a filesystem that has a table of them.
type Inodes struct {
	Size  int64 `json:"size"` // bytes of one inode
	Count int64 `json:"count"`
	Free  int64 `json:"free"`
}

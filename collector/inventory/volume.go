package inventory

// VolumeGroup is one LVM volume group. Problems lists what of it cannot be seen or trusted.
type VolumeGroup struct {
	Name       string           `json:"name"`
	UUID       string           `json:"uuid"`
	Seqno      int64            `json:"seqno"` // counts changes of the metadata
	ExtentSize int64            `json:"extent_size"`
	Size       int64            `json:"size"`
	Free       int64            `json:"free"`
	Status     []string         `json:"status"` // RESIZEABLE, READ, WRITE, EXPORTED, CLUSTERED …
	SystemID   string           `json:"system_id,omitempty"`
	Physical   []PhysicalVolume `json:"physical_volumes"`
	Logical    []LogicalVolume  `json:"logical_volumes"`
	Problems   []string         `json:"problems,omitempty"`
}

// PhysicalVolume is one device of a volume group.
type PhysicalVolume struct {
	UUID    string `json:"uuid"`
	Device  string `json:"device"` // "" when no device with that UUID was found
	Size    int64  `json:"size"`
	Start   int64  `json:"start"` // byte of the device where the first extent begins
	Extents int64  `json:"extents"`
	Free    int64  `json:"free"`
}

// LogicalVolume is one logical volume. Volumes that LVM makes for its own use (pool data, images of a mirror …) are listed
// too, with Internal set: the segments of the others name them.
type LogicalVolume struct {
	Name     string    `json:"name"`
	UUID     string    `json:"uuid"`
	Device   string    `json:"device"` // /dev/mapper name, whether active or not
	Number   string    `json:"number,omitempty"`
	Active   bool      `json:"active"`
	Internal bool      `json:"internal,omitempty"`
	Size     int64     `json:"size"`
	Kind     string    `json:"kind"` // linear, striped, mirror, raid1, raid5 …, thin, thin-pool, cache, cache-pool, snapshot
	Status   []string  `json:"status"`
	Origin   string    `json:"origin,omitempty"` // of a snapshot, thin snapshot or cache
	Pool     string    `json:"pool,omitempty"`   // of a thin volume or cache
	Segments []Segment `json:"segments"`
	// FillPercent is how full a thin pool or snapshot is; only while active and when lvm2 could be asked.
	FillPercent *float64 `json:"fill_percent,omitempty"`
	Content     *Content `json:"content,omitempty"`
	Holders     []string `json:"holders,omitempty"`
	Unread      string   `json:"unread,omitempty"`
}

// Segment is a run of extents of a logical volume with one layout. Offset and Size are bytes.
type Segment struct {
	Type       string `json:"type"`
	Offset     int64  `json:"offset"`
	Size       int64  `json:"size"`
	StripeSize int64  `json:"stripe_size,omitempty"`
	Areas      []Area `json:"areas"`
}

// Area is where a segment's data lies: in a physical volume, or in an internal logical volume.
type Area struct {
	Physical string `json:"physical,omitempty"` // device, or UUID when the device is missing
	Logical  string `json:"logical,omitempty"`
	Offset   int64  `json:"offset"` // bytes from the start of the physical device or logical volume
}

// Btrfs is one Btrfs filesystem, on one or more devices.
type Btrfs struct {
	UUID       string        `json:"uuid"`
	Label      string        `json:"label"`
	Devices    []BtrfsDevice `json:"devices"`
	NumDevices int           `json:"num_devices"` // how many the superblock speaks of
	Size       int64         `json:"size"`        // of all devices
	Used       int64         `json:"used"`
	NodeSize   int64         `json:"node_size"`
	SectorSize int64         `json:"sector_size"`
	Features   []string      `json:"features"`
	// Profiles are known for a mounted filesystem, and for an unmounted one whose trees could be read.
	Profiles []BtrfsProfile `json:"profiles"`
	// DefaultSubvolume is the id of the subvolume mounted by default; 5 is the top level.
	DefaultSubvolume uint64      `json:"default_subvolume,omitempty"`
	Subvolumes       []Subvolume `json:"subvolumes"`
	MountPaths       []string    `json:"mount_paths"`
	Problems         []string    `json:"problems,omitempty"`
}

// BtrfsDevice is a device of a Btrfs filesystem.
type BtrfsDevice struct {
	ID   uint64 `json:"id"`
	UUID string `json:"uuid"`
	Name string `json:"name"` // "" when it was not found
	Size int64  `json:"size"`
	Used int64  `json:"used"` // bytes in chunks
}

// BtrfsProfile is how one kind of block group is laid out.
type BtrfsProfile struct {
	Kind    string `json:"kind"`    // data, metadata, system, data+metadata, GlobalReserve
	Profile string `json:"profile"` // single, DUP, RAID0, RAID1, RAID10, RAID5, RAID6, RAID1C3, RAID1C4
	Size    int64  `json:"size"`
	Used    int64  `json:"used"` // 0 for an unmounted filesystem: its extent tree is not read
}

// Subvolume is a Btrfs subvolume or snapshot.
type Subvolume struct {
	ID         uint64   `json:"id"`
	Parent     uint64   `json:"parent"` // id of the subvolume that its path lies in
	Path       string   `json:"path"`   // from the top level, without a leading slash
	UUID       string   `json:"uuid"`
	ParentUUID string   `json:"parent_uuid,omitempty"` // of the subvolume it was made from
	Received   string   `json:"received_uuid,omitempty"`
	Snapshot   bool     `json:"snapshot"`
	ReadOnly   bool     `json:"read_only"`
	Generation uint64   `json:"generation"`
	MountPaths []string `json:"mount_paths,omitempty"`
}

package inventory

// Mount is one mounted filesystem.
type Mount struct {
	ID         int64  `json:"id"`
	Parent     int64  `json:"parent"`
	Number     string `json:"number"` // major:minor; Btrfs and network filesystems have one of no device
	Root       string `json:"root"`   // the directory of the filesystem that is seen
	Path       string `json:"path"`
	Source     string `json:"source"`
	Type       string `json:"type"`
	Options    string `json:"options"` // of the mount
	Super      string `json:"super"`   // of the filesystem
	ReadOnly   bool   `json:"read_only"`
	Bind       bool   `json:"bind"`      // a part of, or another view of, a filesystem mounted elsewhere
	Overmount  bool   `json:"overmount"` // another mount hides it
	Kind       string `json:"kind"`      // local, network, overlay, pseudo, fuse
	Usage      *Usage `json:"usage,omitempty"`
	FreeInodes *int64 `json:"free_inodes,omitempty"`
	Size       int64  `json:"size,omitempty"`
}

// Swap is an active swap area.
type Swap struct {
	Name string `json:"name"`
	File bool   `json:"file"`
	Size int64  `json:"size"`
	Used int64  `json:"used"`
}

// FstabEntry is one line of /etc/fstab.
type FstabEntry struct {
	Spec    string `json:"spec"`
	Path    string `json:"path"`
	Type    string `json:"type"`
	Options string `json:"options"`
	Dump    int    `json:"dump"`
	Pass    int    `json:"pass"`
	Device  string `json:"device,omitempty"` // what Spec stands for here; empty when it was not found
}

// CrypttabEntry is one line of /etc/crypttab. A key file is named, its content never read.
type CrypttabEntry struct {
	Name    string `json:"name"`
	Device  string `json:"device"`
	KeyFile string `json:"key_file"`
	Options string `json:"options"`
}

// NIC is a network interface.
type NIC struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	MTU       int      `json:"mtu"`
	Up        bool     `json:"up"`
	Kind      string   `json:"kind"`                 // ethernet, bond, bridge, vlan, loopback, virtual
	Driver    string   `json:"driver,omitempty"`     //
	SpeedMbit int64    `json:"speed_mbit,omitempty"` // 0 when the driver does not say
	Addresses []string `json:"addresses"`            // in CIDR notation
	Gateway   string   `json:"gateway,omitempty"`    // of its default route
	Primary   bool     `json:"primary"`              // has the default route with the lowest metric
}

// Route is one entry of the main routing table.
type Route struct {
	Destination string `json:"destination"` // in CIDR notation; 0.0.0.0/0 and ::/0 are default routes
	Gateway     string `json:"gateway,omitempty"`
	Interface   string `json:"interface"`
	Metric      int64  `json:"metric"`
}

// DNS is how names are resolved.
type DNS struct {
	Servers []string `json:"servers"`
	Search  []string `json:"search"`
}

// Windows is what only a Windows server has.
type Windows struct {
	SystemDirectory string          `json:"system_directory"`
	OEM             bool            `json:"oem"`
	Volumes         []WindowsVolume `json:"volumes"`
	DynamicDisks    []string        `json:"dynamic_disks"`
	// Drivers maps the files a KVM target needs (viostor.sys, netkvm.sys, vioscsi.sys) to whether they are installed.
	Drivers  map[string]bool  `json:"drivers"`
	Services []WindowsService `json:"services"`
	Elevated bool             `json:"elevated"`
	// Privileges that are held: SeBackupPrivilege, SeManageVolumePrivilege …
	Privileges []string `json:"privileges"`
}

// WindowsVolume is a volume as the mount manager knows it.
type WindowsVolume struct {
	GUIDPath    string         `json:"guid_path"` // \\?\Volume{…}\
	Paths       []string       `json:"paths"`     // drive letters and mount points; may be empty
	Label       string         `json:"label"`
	Filesystem  string         `json:"filesystem"`
	Serial      string         `json:"serial"`
	Size        int64          `json:"size"`
	Free        int64          `json:"free"`
	ClusterSize int64          `json:"cluster_size"`
	Kind        string         `json:"kind"`    // fixed, removable, cdrom, network, ramdisk
	Extents     []VolumeExtent `json:"extents"` // several on a dynamic disk
	System      bool           `json:"system"`  // holds the Windows directory
	Boot        bool           `json:"boot"`    // holds the boot manager
}

// VolumeExtent is where a part of a Windows volume lies.
type VolumeExtent struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
}

// WindowsService is a service that a migration depends on.
type WindowsService struct {
	Name  string `json:"name"`
	State string `json:"state"` // running, stopped, absent …
	Start string `json:"start"` // auto, manual, disabled
}

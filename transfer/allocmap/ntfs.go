package allocmap

import (
	"errors"
	"fmt"
)

// Records of the master file table and attribute types of NTFS (linux/fs/ntfs3/ntfs.h).
const (
	mftSelf    = 0
	mftLogFile = 2
	mftVolume  = 3
	mftBitmap  = 6

	attrList       = 0x20
	attrVolumeInfo = 0x70
	attrData       = 0x80
	attrEnd        = 0xFFFFFFFF
)

// ntfs is the geometry of a volume, in bytes unless it says otherwise.
type ntfs struct {
	v                       *volume
	sector, cluster, record int64
	clusters, mft           int64 // clusters
	table                   []ntfsRun
	tableSize               int64
}

func isNTFS(v *volume) bool { return v.has(3, "NTFS    ") }

// scanNTFS reads $Bitmap (linux/fs/ntfs3/ntfs.h). The backup of the boot sector lies behind the last cluster.
func scanNTFS(v *volume) error {
	n, err := readNTFS(v)
	if err != nil {
		return err
	}
	if err := n.settled(); err != nil {
		return err
	}
	rec, err := n.file(mftBitmap)
	if err != nil {
		return fmt.Errorf("$Bitmap: %w", err)
	}
	runs, size, err := n.data(rec, mftBitmap)
	if err != nil {
		return fmt.Errorf("$Bitmap: %w", err)
	}
	if size < (n.clusters+7)/8 {
		return errors.New("$Bitmap is too short")
	}
	v.use(0, max(n.cluster, 8<<10))
	v.tail(n.clusters * n.cluster)
	for _, r := range append(append([]ntfsRun(nil), runs...), n.table...) { // whatever their own bits say
		v.use(r.start*n.cluster, r.count*n.cluster)
	}
	return n.pieces(runs, (n.clusters+7)/8, func(at int64, b []byte) error {
		eachRun(b, min(n.clusters-8*at, 8*int64(len(b))), func(first, count int64) {
			v.use((8*at+first)*n.cluster, count*n.cluster)
		})
		return nil
	})
}

func readNTFS(v *volume) (*ntfs, error) {
	b, err := v.read(0, 512)
	if err != nil {
		return nil, err
	}
	sector, per := uint64(le.Uint16(b[11:])), uint64(b[13])
	if per > 0x80 { // a negative power of two since Windows 10: clusters up to 2 MiB
		per = 1 << min(0x100-per, 63)
	}
	if !powerOfTwo(sector, 256, 4096) || !powerOfTwo(per, 1, 2<<20/sector) {
		return nil, errors.New("impossible sector or cluster size")
	}
	sectors := le.Uint64(b[40:])
	total, ok := product(sectors, sector)
	if !ok || total > v.size || sectors < per {
		return nil, fmt.Errorf("the filesystem has %d sectors of %d bytes, the volume %d bytes", sectors, sector, v.size)
	}
	n := &ntfs{v: v, sector: int64(sector), cluster: int64(sector * per), clusters: int64(sectors / per)}
	if mft := le.Uint64(b[48:]); mft < uint64(n.clusters) {
		n.mft = int64(mft)
	}
	if s := int8(b[64]); s < 0 && s > -32 {
		n.record = 1 << -s
	} else {
		n.record = int64(s) * n.cluster
	}
	if n.mft == 0 || !powerOfTwo(uint64(n.record), 512, 64<<10) {
		return nil, errors.New("impossible master file table")
	}
	// The first run of $MFT is known from the boot sector; it leads to the others.
	n.table, n.tableSize = []ntfsRun{{0, n.mft, max(1, 16*n.record/n.cluster)}}, 16*n.record
	rec, err := n.file(mftSelf)
	if err != nil {
		return nil, fmt.Errorf("$MFT: %w", err)
	}
	table, size, err := n.data(rec, mftSelf)
	if err != nil {
		return nil, fmt.Errorf("$MFT: %w", err)
	}
	n.table, n.tableSize = table, size
	return n, nil
}

// settled fails when $LogFile or the volume itself says that $Bitmap may be old.
func (n *ntfs) settled() error {
	rec, err := n.file(mftVolume)
	if err != nil {
		return fmt.Errorf("$Volume: %w", err)
	}
	info, err := firstAttribute(rec, attrVolumeInfo)
	if err != nil || info == nil || info[8] != 0 {
		return errors.New("$Volume says nothing of its state")
	}
	value, ok := resident(info)
	if !ok || len(value) < 12 {
		return errors.New("$Volume says nothing of its state")
	}
	if v := value[8]; v != 1 && v != 3 {
		return fmt.Errorf("version %d.%d is not known", value[8], value[9])
	}
	if flags := le.Uint16(value[10:]); flags&1 != 0 {
		return errors.New("the filesystem is marked for a check")
	}
	return n.logClean()
}

// logClean fails unless the newer of the two restart pages of $LogFile says that no one uses the log, or that the volume was
// unmounted (LFS_RESTART_AREA in linux/fs/ntfs3/fslog.c). A log that was emptied has nothing but 0xFF.
func (n *ntfs) logClean() error {
	const unclean = "the filesystem was not unmounted cleanly: $LogFile holds newer bitmaps"
	rec, err := n.file(mftLogFile)
	if err != nil {
		return fmt.Errorf("$LogFile: %w", err)
	}
	runs, size, err := n.data(rec, mftLogFile)
	if err != nil {
		return fmt.Errorf("$LogFile: %w", err)
	}
	const page = 4096
	head := make([]byte, 0, 2*page)
	if err := n.pieces(runs, min(size, 2*page), func(_ int64, b []byte) error { head = append(head, b...); return nil }); err != nil {
		return fmt.Errorf("$LogFile: %w", err)
	}
	empty := len(head) == 2*page
	for _, b := range head {
		empty = empty && b == 0xFF
	}
	if empty {
		return nil
	}
	var newest uint64
	clean, found := false, false
	for ; len(head) >= page; head = head[page:] {
		p := head[:page]
		at := int(le.Uint16(p[24:]))
		if string(p[:4]) != "RSTR" || le.Uint32(p[16:]) != page || at < 30 || at > 512-32 {
			continue
		}
		area := p[at:]
		if lsn := le.Uint64(area); !found || lsn >= newest {
			// Both pages are written alike; of two that are not, neither is believed when they have the same number.
			was := !found || lsn > newest || clean
			found, newest, clean = true, lsn, was && (le.Uint16(area[12:]) == 0xFFFF || le.Uint16(area[14:])&2 != 0)
		}
	}
	if !clean {
		return errors.New(unclean)
	}
	return nil
}

package collector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Control codes of winioctl.h.
const (
	ioctlStorageQueryProperty = 0x2D1400
	ioctlVolumeDiskExtents    = 0x560000
)

// maxDrives bounds the numbers of physical drives that are tried; Windows leaves gaps when drives go.
const maxDrives = 256

// localWindows asks the Windows that Ferry runs on.
type localWindows struct{}

// Drives tries the names of physical drives one by one.
func (localWindows) Drives() ([]windowsDrive, error) {
	var out []windowsDrive
	var denied error
	for n := 0; n < maxDrives; n++ {
		name := fmt.Sprintf(`\\.\PhysicalDrive%d`, n)
		d, err := blockdev.Open(name)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				denied = err
			}
			continue
		}
		info := d.Info()
		_ = d.Close()
		out = append(out, windowsDrive{Name: name, Size: info.Size, Logical: info.LogicalSector, Physical: info.PhysicalSector, Descriptor: descriptor(name)})
	}
	return out, denied
}

// descriptor returns the STORAGE_DEVICE_DESCRIPTOR of a drive; nil when it gives none.
func descriptor(name string) []byte {
	h, err := openQuery(name)
	if err != nil {
		return nil
	}
	defer closeHandle(h)
	var query [12]byte // StorageDeviceProperty, PropertyStandardQuery
	out := make([]byte, 4096)
	var n uint32
	if windows.DeviceIoControl(h, ioctlStorageQueryProperty, &query[0], uint32(len(query)), &out[0], uint32(len(out)), &n, nil) != nil {
		return nil
	}
	return out[:n]
}

// openQuery opens a device for questions only, which needs no rights.
func openQuery(name string) (windows.Handle, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	return windows.CreateFile(p, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
}

// Volumes asks the mount manager.
func (localWindows) Volumes() ([]inventory.WindowsVolume, error) {
	buf := make([]uint16, windows.MAX_PATH)
	h, err := windows.FindFirstVolume(&buf[0], uint32(len(buf)))
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	defer func() { _ = windows.FindVolumeClose(h) }()
	system := systemDirectory()
	out := []inventory.WindowsVolume{}
	for {
		out = append(out, volume(windows.UTF16ToString(buf), system))
		if err := windows.FindNextVolume(h, &buf[0], uint32(len(buf))); err != nil {
			if errors.Is(err, windows.ERROR_NO_MORE_FILES) {
				return out, nil
			}
			return out, fmt.Errorf("volumes: %w", err)
		}
	}
}

// volume describes one volume by its GUID path. What a volume without a medium or a filesystem does not answer stays empty.
func volume(guid, system string) inventory.WindowsVolume {
	v := inventory.WindowsVolume{GUIDPath: guid, Paths: []string{}, Extents: []inventory.VolumeExtent{}}
	name, err := windows.UTF16PtrFromString(guid)
	if err != nil {
		return v
	}
	kinds := map[uint32]string{windows.DRIVE_FIXED: "fixed", windows.DRIVE_REMOVABLE: "removable", windows.DRIVE_CDROM: "cdrom", windows.DRIVE_REMOTE: "network", windows.DRIVE_RAMDISK: "ramdisk"}
	v.Kind = kinds[windows.GetDriveType(name)]
	paths := make([]uint16, 32<<10)
	var n uint32
	if windows.GetVolumePathNamesForVolumeName(name, &paths[0], uint32(len(paths)), &n) == nil {
		v.Paths = splitList(paths[:n])
	}
	v.Extents = extents(strings.TrimSuffix(guid, `\`))
	if v.Kind == "cdrom" || v.Kind == "removable" {
		return v // asking would wait for a medium
	}
	label, fs := make([]uint16, 64), make([]uint16, 64)
	var serial uint32
	if windows.GetVolumeInformation(name, &label[0], uint32(len(label)), &serial, nil, nil, &fs[0], uint32(len(fs))) == nil {
		v.Label, v.Filesystem, v.Serial = windows.UTF16ToString(label), windows.UTF16ToString(fs), fmt.Sprintf("%04X-%04X", serial>>16, serial&0xFFFF)
	}
	var free, total, all uint64
	if windows.GetDiskFreeSpaceEx(name, &free, &total, &all) == nil {
		v.Size, v.Free = int64(total), int64(all)
	}
	v.ClusterSize = clusterSize(name)
	for _, p := range v.Paths {
		v.System = v.System || strings.EqualFold(p, filepath.VolumeName(system)+`\`)
	}
	for _, manager := range []string{"bootmgr", `EFI\Microsoft\Boot\bootmgfw.efi`} {
		if _, err := os.Stat(guid + manager); err == nil {
			v.Boot = true
		}
	}
	return v
}

// splitList takes apart a list of strings that each end in a zero.
func splitList(list []uint16) []string {
	out := []string{}
	for len(list) > 0 && list[0] != 0 {
		s := windows.UTF16ToString(list)
		out = append(out, s)
		list = list[min(len(list), len(windows.StringToUTF16(s))):]
	}
	return out
}

var getDiskFreeSpace = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetDiskFreeSpaceW")

func clusterSize(name *uint16) int64 {
	var sectors, bytes, free, total uint32
	ok, _, _ := getDiskFreeSpace.Call(uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&sectors)), uintptr(unsafe.Pointer(&bytes)),
		uintptr(unsafe.Pointer(&free)), uintptr(unsafe.Pointer(&total)))
	if ok == 0 {
		return 0
	}
	return int64(sectors) * int64(bytes)
}

// extents asks where a volume lies: VOLUME_DISK_EXTENTS is a count, then for each 24 bytes with disk number, offset and length.
func extents(device string) []inventory.VolumeExtent {
	out := []inventory.VolumeExtent{}
	h, err := openQuery(device)
	if err != nil {
		return out
	}
	defer closeHandle(h)
	b := make([]byte, 8+24*128)
	var n uint32
	if windows.DeviceIoControl(h, ioctlVolumeDiskExtents, nil, 0, &b[0], uint32(len(b)), &n, nil) != nil || n < 8 {
		return out
	}
	count := binary.LittleEndian.Uint32(b)
	for e := b[8:n]; count > 0 && len(e) >= 24; count-- {
		out = append(out, inventory.VolumeExtent{
			Disk:   fmt.Sprintf(`\\.\PhysicalDrive%d`, binary.LittleEndian.Uint32(e)),
			Offset: int64(binary.LittleEndian.Uint64(e[8:])), Size: int64(binary.LittleEndian.Uint64(e[16:])),
		})
		e = e[24:]
	}
	return out
}

// closeHandle closes what was opened for questions only.
func closeHandle(h windows.Handle) { _ = windows.CloseHandle(h) }

func systemDirectory() string {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return `C:\Windows\System32`
	}
	return dir
}

// Facts asks the file system, the token of this process and the service manager.
func (localWindows) Facts() (inventory.Windows, error) {
	dir := systemDirectory()
	w := inventory.Windows{SystemDirectory: dir, Drivers: map[string]bool{}, Elevated: windows.GetCurrentProcessToken().IsElevated(), Privileges: privileges()}
	for _, name := range []string{"viostor.sys", "netkvm.sys", "vioscsi.sys"} {
		_, err := os.Stat(filepath.Join(dir, "drivers", name))
		w.Drivers[name] = err == nil
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(dir), "OEM"))
	w.OEM = err == nil
	w.Services, err = services("VSS", "swprv", "vds", "Winmgmt", "RpcSs")
	return w, err
}

// privileges lists those of this process that are switched on or could be.
func privileges() []string {
	out := []string{}
	token := windows.GetCurrentProcessToken()
	var n uint32
	_ = windows.GetTokenInformation(token, windows.TokenPrivileges, nil, 0, &n)
	if n == 0 || n > 1<<16 {
		return out
	}
	b := make([]byte, n)
	if windows.GetTokenInformation(token, windows.TokenPrivileges, &b[0], n, &n) != nil {
		return out
	}
	for _, p := range (*windows.Tokenprivileges)(unsafe.Pointer(&b[0])).AllPrivileges() {
		for name, luid := range wantedPrivileges() {
			if p.Luid == luid {
				out = append(out, name)
			}
		}
	}
	return out
}

func wantedPrivileges() map[string]windows.LUID {
	out := map[string]windows.LUID{}
	for _, name := range []string{"SeBackupPrivilege", "SeRestorePrivilege", "SeManageVolumePrivilege", "SeSecurityPrivilege", "SeTakeOwnershipPrivilege"} {
		p, err := windows.UTF16PtrFromString(name)
		var luid windows.LUID
		if err == nil && windows.LookupPrivilegeValue(nil, p, &luid) == nil {
			out[name] = luid
		}
	}
	return out
}

// services asks the service manager, with no more than the right to look.
func services(names ...string) ([]inventory.WindowsService, error) {
	out := []inventory.WindowsService{}
	h, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return out, fmt.Errorf("service manager: %w", err)
	}
	manager := &mgr.Mgr{Handle: h}
	defer func() { _ = manager.Disconnect() }()
	for _, name := range names {
		out = append(out, service(manager, name))
	}
	return out, nil
}

func service(manager *mgr.Mgr, name string) inventory.WindowsService {
	s := inventory.WindowsService{Name: name, State: "absent"}
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return s
	}
	h, err := windows.OpenService(manager.Handle, p, windows.SERVICE_QUERY_STATUS|windows.SERVICE_QUERY_CONFIG)
	if err != nil {
		return s
	}
	open := &mgr.Service{Name: name, Handle: h}
	defer func() { _ = open.Close() }()
	if st, err := open.Query(); err == nil {
		s.State = map[svc.State]string{svc.Running: "running", svc.Stopped: "stopped"}[st.State]
		if s.State == "" {
			s.State = "changing"
		}
	}
	if c, err := open.Config(); err == nil {
		s.Start = map[uint32]string{mgr.StartAutomatic: "auto", mgr.StartManual: "manual", mgr.StartDisabled: "disabled"}[c.StartType]
	}
	return s
}

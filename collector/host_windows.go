package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// collectors is the list of what is collected on Windows, in the order in which results are filled in.
func collectors(Options) []Collector {
	return []Collector{
		part{"host", collectHost},
		part{"network", collectNetwork},
		part{"storage", collectWindows(localWindows{}, inspector{open: openDevice})},
	}
}

// collectHost finds the operating system, the machine, its processor and memory.
func collectHost(ctx context.Context) (Fill, error) {
	var errs []error
	v := windows.RtlGetVersion()
	system := inventory.OS{
		Family: inventory.FamilyWindows, ID: "windows", Like: []string{}, Bits: 64, Name: productName(),
		Version: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber), Kernel: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber),
	}
	h := inventory.Host{Architecture: runtime.GOARCH}
	h.Hostname, _ = os.Hostname()
	bios := `HARDWARE\DESCRIPTION\System\BIOS`
	h.Manufacturer, h.Product = registryText(bios, "SystemManufacturer"), registryText(bios, "SystemProductName")
	h.MachineID = registryText(`SOFTWARE\Microsoft\Cryptography`, "MachineGuid")
	h.Platform = windowsPlatform(h)
	var c inventory.CPU
	var err error
	c.Count, err = cpu.CountsWithContext(ctx, true)
	errs = append(errs, err)
	if times, err := cpu.TimesWithContext(ctx, false); err == nil && len(times) > 0 {
		c.Usage = percentBusy(times[0])
	}
	var m inventory.Memory
	if vm, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		m = inventory.Memory{Total: int64(vm.Total), Available: int64(vm.Available)}
	} else {
		errs = append(errs, err)
	}
	if up, err := host.UptimeWithContext(ctx); err == nil {
		h.UptimeSec = int64(up)
	}
	boot := inventory.Boot{Firmware: firmware(), Loader: "bootmgr"}
	boot.SecureBoot = registryNumber(`SYSTEM\CurrentControlSet\Control\SecureBoot\State`, "UEFISecureBootEnabled") == 1
	return func(s *inventory.Server) {
		boot.Virtio = s.Boot.Virtio
		s.Host, s.OS, s.CPU, s.Memory, s.Boot = h, system, c, m, boot
	}, errors.Join(errs...)
}

// productName is the name that the registry has; it still says Windows 10 on Windows 11, whose builds begin at 22000.
func productName() string {
	name := registryText(`SOFTWARE\Microsoft\Windows NT\CurrentVersion`, "ProductName")
	if windows.RtlGetVersion().BuildNumber >= 22000 && !strings.Contains(name, "Server") {
		name = strings.Replace(name, "Windows 10", "Windows 11", 1)
	}
	return name
}

func registryText(path, value string) string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return ""
	}
	defer func() { _ = k.Close() }()
	s, _, _ := k.GetStringValue(value)
	return s
}

func registryNumber(path, value string) uint64 {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
	if err != nil {
		return 0
	}
	defer func() { _ = k.Close() }()
	n, _, _ := k.GetIntegerValue(value)
	return n
}

var getFirmwareType = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetFirmwareType")

// firmware asks for FIRMWARE_TYPE: 1 is BIOS, 2 UEFI.
func firmware() string {
	var kind uint32
	if getFirmwareType.Find() != nil {
		return ""
	}
	if ok, _, _ := getFirmwareType.Call(uintptr(unsafe.Pointer(&kind))); ok == 0 {
		return ""
	}
	return map[uint32]string{1: "BIOS", 2: "UEFI"}[kind]
}

func windowsPlatform(h inventory.Host) string {
	all := strings.ToLower(h.Manufacturer + " " + h.Product)
	for _, p := range []struct{ sign, name string }{
		{"huawei", "hw"}, {"alibaba", "ali"}, {"amazon", "aws"}, {"google", "gcp"}, {"tencent", "tencent"}, {"vmware", "vmware"}, {"virtual machine", "hyperv"},
		{"virtualbox", "virtualbox"}, {"qemu", "kvm"}, {"kvm", "kvm"}, {"openstack", "kvm"}, {"red hat", "kvm"},
	} {
		if strings.Contains(all, p.sign) {
			return p.name
		}
	}
	return "other"
}

// collectNetwork lists interfaces with their addresses, gateways and name servers.
func collectNetwork(context.Context) (Fill, error) {
	var size uint32 = 64 << 10
	b := make([]byte, size)
	const withGateways = 0x80 // GAA_FLAG_INCLUDE_GATEWAYS
	err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, withGateways, 0, (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0])), &size)
	if errors.Is(err, windows.ERROR_BUFFER_OVERFLOW) && size < 16<<20 {
		b = make([]byte, size)
		err = windows.GetAdaptersAddresses(windows.AF_UNSPEC, withGateways, 0, (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0])), &size)
	}
	if err != nil {
		return nil, fmt.Errorf("network adapters: %w", err)
	}
	var nics []inventory.NIC
	dns := inventory.DNS{Servers: []string{}, Search: []string{}}
	var routes []inventory.Route
	for a := (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0])); a != nil; a = a.Next {
		n := inventory.NIC{
			Name: windows.UTF16PtrToString(a.FriendlyName), MTU: max(int(int32(a.Mtu)), 0), Up: a.OperStatus == windows.IfOperStatusUp, Kind: adapterKind(a.IfType),
			Addresses: []string{},
		}
		if a.TransmitLinkSpeed < 1<<50 { // all ones: not known
			n.SpeedMbit = int64(a.TransmitLinkSpeed / 1_000_000)
		}
		n.MAC = net.HardwareAddr(a.PhysicalAddress[:min(a.PhysicalAddressLength, 8)]).String()
		for u := a.FirstUnicastAddress; u != nil; u = u.Next {
			n.Addresses = append(n.Addresses, fmt.Sprintf("%s/%d", u.Address.IP(), u.OnLinkPrefixLength))
		}
		for g := a.FirstGatewayAddress; g != nil; g = g.Next {
			ip, all := g.Address.IP(), "0.0.0.0/0"
			if ip.To4() == nil {
				all = "::/0"
			}
			routes = append(routes, inventory.Route{Destination: all, Gateway: ip.String(), Interface: n.Name, Metric: int64(a.Ipv4Metric)})
		}
		for d := a.FirstDnsServerAddress; d != nil; d = d.Next {
			if ip := d.Address.IP().String(); !slices.Contains(dns.Servers, ip) { // each adapter names them again
				dns.Servers = append(dns.Servers, ip)
			}
		}
		nics = append(nics, n)
	}
	gateways(nics, routes)
	return func(s *inventory.Server) {
		s.NICs, s.Routes, s.DNS = append(s.NICs, nics...), append(s.Routes, routes...), dns
	}, nil
}

func adapterKind(kind uint32) string {
	switch kind {
	case windows.IF_TYPE_SOFTWARE_LOOPBACK:
		return "loopback"
	case windows.IF_TYPE_ETHERNET_CSMACD, windows.IF_TYPE_IEEE80211:
		return "ethernet"
	default:
		return "virtual"
	}
}

package collector

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

const netClass = "sys/class/net"

// collectNetwork lists interfaces, routes of the main table and name servers.
func collectNetwork(r root) func(context.Context) (Fill, error) {
	return func(context.Context) (Fill, error) {
		routes := append(routes4(r), routes6(r)...)
		nics := listNICs(r)
		var err error
		if r.isHost() {
			err = addresses(nics)
		}
		gateways(nics, routes)
		dns := readResolv(r)
		return func(s *inventory.Server) {
			s.NICs = append(s.NICs, nics...)
			s.Routes = append(s.Routes, routes...)
			s.DNS = dns
		}, err
	}
}

func listNICs(r root) []inventory.NIC {
	var out []inventory.NIC
	for _, name := range r.names(netClass) {
		dir := filepath.Join(netClass, name)
		if !r.exists(dir + "/address") { // bonding_masters is a file beside the interfaces
			continue
		}
		n := inventory.NIC{
			Name: name, MAC: r.read(dir + "/address"), MTU: int(r.number(dir + "/mtu")), Kind: nicKind(r, dir),
			SpeedMbit: max(r.number(dir+"/speed"), 0), Addresses: []string{},
		}
		state := r.read(dir + "/operstate")
		n.Up = state == "up" || state == "unknown" && r.read(dir+"/carrier") == "1"
		if driver, err := filepath.EvalSymlinks(r.path(dir + "/device/driver")); err == nil {
			n.Driver = filepath.Base(driver)
		}
		out = append(out, n)
	}
	return out
}

// nicKind tells interfaces apart: ARPHRD types are those of linux/include/uapi/linux/if_arp.h.
func nicKind(r root, dir string) string {
	switch {
	case r.read(dir+"/type") == "772":
		return "loopback"
	case r.exists(dir + "/bonding"):
		return "bond"
	case r.exists(dir + "/bridge"):
		return "bridge"
	case strings.Contains(r.read(dir+"/uevent"), "DEVTYPE=vlan"):
		return "vlan"
	case r.exists(dir + "/device"):
		return "ethernet"
	default:
		return "virtual"
	}
}

func addresses(nics []inventory.NIC) error {
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	at := map[string]*inventory.NIC{}
	for i := range nics {
		at[nics[i].Name] = &nics[i]
	}
	for _, ifc := range list {
		n := at[ifc.Name]
		if n == nil {
			continue
		}
		addrs, err := ifc.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			n.Addresses = append(n.Addresses, a.String())
		}
	}
	return nil
}

// routes4 reads /proc/net/route: numbers there are hexadecimal in the byte order of the machine, which is little endian on all that Ferry
// supports.
func routes4(r root) (out []inventory.Route) {
	lines, _ := r.lines("proc/net/route")
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "Iface" {
			continue
		}
		dst, ok1 := address4(f[1])
		gateway, ok2 := address4(f[2])
		mask, ok3 := address4(f[7])
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		m := mask.As4()
		ones, _ := net.IPMask(m[:]).Size()
		metric, _ := strconv.ParseInt(f[6], 10, 64)
		route := inventory.Route{Destination: netip.PrefixFrom(dst, ones).String(), Interface: f[0], Metric: metric}
		if !gateway.IsUnspecified() {
			route.Gateway = gateway.String()
		}
		out = append(out, route)
	}
	return out
}

func address4(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.LittleEndian.Uint32(b))
	return netip.AddrFrom4(a), true
}

// routes6 reads /proc/net/ipv6_route: addresses in the order of the network, prefix lengths hexadecimal. Routes to the machine itself,
// and those of multicast, are left out.
func routes6(r root) (out []inventory.Route) {
	lines, _ := r.lines("proc/net/ipv6_route")
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 10 || f[9] == "lo" {
			continue
		}
		dst, ok1 := address6(f[0])
		gateway, ok2 := address6(f[4])
		ones, err := strconv.ParseUint(f[1], 16, 8)
		metric, err2 := strconv.ParseUint(f[5], 16, 32)
		if !ok1 || !ok2 || err != nil || err2 != nil || ones > 127 || dst.IsMulticast() {
			continue
		}
		route := inventory.Route{Destination: netip.PrefixFrom(dst, int(ones)).String(), Interface: f[9], Metric: int64(metric)}
		if !gateway.IsUnspecified() {
			route.Gateway = gateway.String()
		}
		out = append(out, route)
	}
	return out
}

func address6(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(b)), true
}

func readResolv(r root) inventory.DNS {
	dns := inventory.DNS{Servers: []string{}, Search: []string{}}
	lines, _ := r.lines("etc/resolv.conf")
	for _, line := range lines {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case f[0] == "nameserver":
			dns.Servers = append(dns.Servers, f[1])
		case f[0] == "search" || f[0] == "domain":
			dns.Search = f[1:]
		}
	}
	return dns
}

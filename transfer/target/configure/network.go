package configure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// addressing is what the first interface gets: by DHCP, or what was given.
type addressing struct {
	dhcp      bool
	addresses []netip.Prefix
	gateway   netip.Addr // invalid if none
	dns       []netip.Addr
	nics      int // at least 1
}

// check refuses choices that cannot be. What passes contains nothing but what it should: it is written into files.
func (o *Options) check() error {
	bad := func(what, value string) error {
		return fault.Operator(CodeChoice, "correct the choice and run again", fmt.Errorf("%s %q cannot be", what, value))
	}
	if o.Serial != "" && !regexp.MustCompile(`^tty[A-Z]{1,4}[0-9]{1,3}$`).MatchString(o.Serial) {
		return bad("serial console", o.Serial)
	}
	if o.Hostname != "" && !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$`).MatchString(o.Hostname) {
		return bad("host name", o.Hostname)
	}
	if !slices.Contains([]Network{NetworkKeep, NetworkDHCP, NetworkStatic}, o.Network) {
		return bad("network", string(o.Network))
	}
	if o.Network == NetworkStatic && len(o.Addresses) == 0 {
		return bad("static network without an address", "")
	}
	_, err := o.addressing(1)
	return err
}

func (o *Options) addressing(nics int) (a addressing, err error) {
	a = addressing{dhcp: o.Network == NetworkDHCP, nics: max(1, nics)}
	if o.Network != NetworkStatic {
		return a, nil
	}
	for _, text := range o.Addresses {
		p, e := netip.ParsePrefix(text)
		err = errors.Join(err, e)
		a.addresses = append(a.addresses, p)
	}
	if o.Gateway != "" {
		var e error
		a.gateway, e = netip.ParseAddr(o.Gateway)
		err = errors.Join(err, e)
	}
	for _, text := range o.DNS {
		d, e := netip.ParseAddr(text)
		err = errors.Join(err, e)
		a.dns = append(a.dns, d)
	}
	return a, fault.Operator(CodeChoice, "write addresses as 192.0.2.10/24, gateway and name servers as 192.0.2.1", err)
}

// manager is a program that configures interfaces.
type manager struct {
	name  string
	here  func(s *system) bool
	named bool     // its files name the interface, which then has to be called eth0
	old   []string // files that are set aside, patterns
	wired bool     // of those only the connections of wired interfaces
	write func(a addressing) map[string]string
}

// managers, the one that decides first: netplan writes the configuration of others.
var managers = []manager{
	{name: "netplan", here: func(s *system) bool { return len(s.glob("/etc/netplan/*.yaml")) > 0 }, old: []string{"/etc/netplan/*.yaml"}, write: netplanFiles},
	{name: "NetworkManager", here: (*system).networkManager,
		old: []string{"/etc/NetworkManager/system-connections/*", "/etc/sysconfig/network-scripts/ifcfg-*"}, wired: true, write: keyfile},
	{name: "systemd-networkd", here: func(s *system) bool { return s.enabled("systemd-networkd") }, old: []string{"/etc/systemd/network/*.network"}, write: networkdFiles},
	{name: "network-scripts", here: func(s *system) bool { return len(s.glob("/etc/sysconfig/network-scripts/ifcfg-*")) > 0 }, named: true,
		old: []string{"/etc/sysconfig/network-scripts/ifcfg-*"}, wired: true, write: ifcfgFiles},
	{name: "wicked", here: func(s *system) bool { return s.isDir("/etc/sysconfig/network") }, named: true,
		old: []string{"/etc/sysconfig/network/ifcfg-*", "/etc/sysconfig/network/routes", "/etc/sysconfig/network/ifroute-*"}, wired: true, write: wickedFiles},
	{name: "ifupdown", here: func(s *system) bool { return s.isFile("/etc/network/interfaces") }, named: true, write: interfacesFiles},
}

// networkManager reports whether NetworkManager decides: not on a Debian whose interfaces are ifupdown's, which it leaves alone.
func (s *system) networkManager() bool {
	return s.enabled("NetworkManager") && (s.report.Family != Debian || !strings.Contains(s.text("/etc/network/interfaces"), "iface e"))
}

// manager returns the one that decides, nil if none is known.
func (s *system) manager() *manager {
	for i := range managers {
		if managers[i].here(s) {
			return &managers[i]
		}
	}
	return nil
}

// plainNames reports whether interfaces have to be called eth0, eth1, …
func (s *system) plainNames() bool {
	switch s.options.Network {
	case NetworkStatic:
		return true
	case NetworkDHCP:
		m := s.manager()
		return m != nil && m.named
	default:
		return false
	}
}

// network does what was chosen.
func network(_ context.Context, s *system) error {
	if s.options.Network == NetworkKeep {
		return s.keepNetwork()
	}
	m := s.manager()
	if m == nil {
		s.warn("no network manager is known here: set up the network by hand")
		return nil
	}
	a, err := s.options.addressing(len(s.facts.NICs))
	if err != nil {
		return err
	}
	files := m.write(a)
	for _, name := range s.oldNetwork(m) {
		if _, ours := files[name]; ours {
			continue
		}
		if err := s.remove(name, "network of the old machine"); err != nil {
			return err
		}
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		perm := permFile
		if m.name == "NetworkManager" || m.name == "netplan" { // both refuse what others may read
			perm = 0o600
		}
		if err := s.put(name, files[name], perm, "network as chosen, for "+m.name); err != nil {
			return err
		}
	}
	if s.isDir("/etc/cloud") && !s.options.DisableCloudInit { // it would write its own again
		return s.put("/etc/cloud/cloud.cfg.d/99-ferry-network.cfg", "network: {config: disabled}\n", permFile, "keeps cloud-init from replacing the network configuration")
	}
	return nil
}

// oldNetwork lists what is set aside: connections of wired interfaces, and rules that give interfaces their names by address.
func (s *system) oldNetwork(m *manager) (out []string) {
	out = s.glob("/etc/udev/rules.d/*-persistent-net.rules")
	for _, name := range s.glob("/etc/systemd/network/*.link") {
		if strings.Contains(s.text(name), "MACAddress=") {
			out = append(out, name)
		}
	}
	for _, pattern := range m.old {
		for _, name := range s.glob(pattern) {
			if s.isFile(name) && (!m.wired || wired(path.Base(name), s.text(name))) {
				out = append(out, name)
			}
		}
	}
	return out
}

var otherLinks = regexp.MustCompile(`(?im)^(type="?(wifi|wireless|vpn|wireguard|loopback|802-11-wireless|gsm|bluetooth)"?|device="?lo"?)\s*$`)

// wired reports whether a file of connections is about a wired interface, or what lies on one.
func wired(name, text string) bool {
	return name != "ifcfg-lo" && name != "ifcfg-template" && !otherLinks.MatchString(text)
}

// keepNetwork gives the interfaces of this machine the names, and their addresses the places, that those of the source had.
func (s *system) keepNetwork() error {
	rules := ""
	for _, n := range s.facts.NICs {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil || strings.ContainsAny(n.Was, "\"\n") {
			return fault.Operator(CodeFacts, "name the interfaces of the target with their addresses", fmt.Errorf("interface %q with address %q: %w", n.Was, n.MAC, errors.Join(err, errors.ErrUnsupported)))
		}
		if n.Was != "" {
			rules += fmt.Sprintf("SUBSYSTEM==\"net\", ACTION==\"add\", ATTR{type}==\"1\", ATTR{address}==%q, NAME=%q\n", mac.String(), n.Was)
		}
	}
	for _, pattern := range []string{"/etc/udev/rules.d/*net*.rules", "/etc/systemd/network/*", "/etc/netplan/*.yaml", "/etc/NetworkManager/system-connections/*",
		"/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*", "/etc/network/interfaces", "/etc/network/interfaces.d/*"} {
		for _, name := range s.glob(pattern) {
			if path.Base(name) == path.Base(ruleFile) {
				continue
			}
			if err := s.edit(name, "hardware address of this machine", s.readdress); err != nil {
				return err
			}
		}
	}
	if rules == "" || !s.isDir("/etc/udev") && !s.isDir("/lib/udev") {
		return nil
	}
	return s.put(ruleFile, "# Interfaces are called as on the machine that this system came from.\n"+rules, permFile, "names of interfaces as on the source")
}

const ruleFile = "/etc/udev/rules.d/70-ferry-net.rules"

// readdress puts the hardware addresses of this machine in place of those of the source.
func (s *system) readdress(text string) string {
	pairs := []string{}
	for _, n := range s.facts.NICs {
		if was, err := net.ParseMAC(n.WasMAC); err == nil {
			pairs = append(pairs, strings.ToLower(was.String()), strings.ToLower(n.MAC), strings.ToUpper(was.String()), strings.ToUpper(n.MAC))
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

package configure

import (
	"fmt"
	"net/netip"
	"strings"
)

// The files of each network manager. A static address is for eth0; DHCP is for every wired interface, whatever it is called, where the
// manager can say so.

const made = "# Written by Ferry when this system was moved.\n"

// pattern is what interfaces match.
func (a *addressing) pattern() string {
	if a.dhcp {
		return "e*"
	}
	return "eth0"
}

func list[T fmt.Stringer](items []T, separator string) string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = item.String()
	}
	return strings.Join(out, separator)
}

// netplanFiles: netplan(5).
func netplanFiles(a addressing) map[string]string {
	b := made + "network:\n  version: 2\n  ethernets:\n    wired:\n      match:\n        name: \"" + a.pattern() + "\"\n"
	if a.dhcp {
		b += "      dhcp4: true\n      dhcp6: true\n      optional: true\n"
	} else {
		b += "      addresses: [" + list(a.addresses, ", ") + "]\n"
		if a.gateway.IsValid() {
			to := "0.0.0.0/0"
			if a.gateway.Is6() {
				to = "::/0"
			}
			b += "      routes:\n        - to: \"" + to + "\"\n          via: \"" + a.gateway.String() + "\"\n"
		}
		if len(a.dns) > 0 {
			b += "      nameservers:\n        addresses: [" + list(a.dns, ", ") + "]\n"
		}
	}
	return map[string]string{"/etc/netplan/01-ferry.yaml": b}
}

// networkdFiles: systemd.network(5).
func networkdFiles(a addressing) map[string]string {
	b := made + "[Match]\nName=" + a.pattern() + "\n\n[Network]\n"
	if a.dhcp {
		b += "DHCP=yes\n"
	}
	for _, p := range a.addresses {
		b += "Address=" + p.String() + "\n"
	}
	if a.gateway.IsValid() {
		b += "Gateway=" + a.gateway.String() + "\n"
	}
	for _, d := range a.dns {
		b += "DNS=" + d.String() + "\n"
	}
	return map[string]string{"/etc/systemd/network/10-ferry.network": b}
}

// keyfile: nm-settings-keyfile(5).
func keyfile(a addressing) map[string]string {
	b := made + "[connection]\nid=ferry\nuuid=a3e6c3a2-6f6d-4c8e-9e43-0d7f4c5d2b10\ntype=ethernet\nautoconnect-priority=100\n"
	v4, v6 := "", ""
	if a.dhcp {
		b += "multi-connect=3\n"
		v4, v6 = "method=auto\n", "method=auto\n"
	} else {
		b += "interface-name=" + a.pattern() + "\n"
		v4, v6 = a.family(netip.Addr.Is4, "disabled"), a.family(netip.Addr.Is6, "ignore")
	}
	return map[string]string{"/etc/NetworkManager/system-connections/ferry.nmconnection": b + "\n[ipv4]\n" + v4 + "\n[ipv6]\n" + v6}
}

// family is the section of one family of addresses in a keyfile.
func (a *addressing) family(is func(netip.Addr) bool, none string) string {
	b := ""
	for _, p := range a.addresses {
		if is(p.Addr()) {
			b += fmt.Sprintf("address%d=%s\n", strings.Count(b, "\n")+1, p)
		}
	}
	if b == "" {
		return "method=" + none + "\n"
	}
	b = "method=manual\n" + b
	if a.gateway.IsValid() && is(a.gateway) {
		b += "gateway=" + a.gateway.String() + "\n"
	}
	servers := ""
	for _, d := range a.dns {
		if is(d) {
			servers += d.String() + ";"
		}
	}
	if servers != "" {
		b += "dns=" + servers + "\n"
	}
	return b
}

// ifcfgFiles: /usr/share/doc/initscripts/sysconfig.txt.
func ifcfgFiles(a addressing) map[string]string {
	out := map[string]string{}
	if a.dhcp {
		for i := range a.nics {
			out[fmt.Sprintf("/etc/sysconfig/network-scripts/ifcfg-eth%d", i)] = made + fmt.Sprintf("DEVICE=eth%d\nTYPE=Ethernet\nBOOTPROTO=dhcp\nONBOOT=yes\n", i)
		}
		return out
	}
	b := made + "DEVICE=eth0\nTYPE=Ethernet\nBOOTPROTO=none\nONBOOT=yes\n"
	n4, six := 0, []netip.Prefix{}
	for _, p := range a.addresses {
		if p.Addr().Is6() {
			six = append(six, p)
			continue
		}
		b += fmt.Sprintf("IPADDR%[1]s=%[2]s\nPREFIX%[1]s=%[3]d\n", number(n4), p.Addr(), p.Bits())
		n4++
	}
	if len(six) > 0 {
		b += "IPV6INIT=yes\nIPV6ADDR=" + six[0].String() + "\n"
		if len(six) > 1 {
			b += "IPV6ADDR_SECONDARIES=\"" + list(six[1:], " ") + "\"\n"
		}
	}
	if a.gateway.IsValid() {
		key := "GATEWAY"
		if a.gateway.Is6() {
			key = "IPV6_DEFAULTGW"
		}
		b += key + "=" + a.gateway.String() + "\n"
	}
	for i, d := range a.dns {
		b += fmt.Sprintf("DNS%d=%s\n", i+1, d)
	}
	return map[string]string{"/etc/sysconfig/network-scripts/ifcfg-eth0": b}
}

// number is the suffix of the n-th of some keys: none for the first.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// wickedFiles: ifcfg(5) and routes(5) of wicked.
func wickedFiles(a addressing) map[string]string {
	out := map[string]string{}
	if a.dhcp {
		for i := range a.nics {
			out[fmt.Sprintf("/etc/sysconfig/network/ifcfg-eth%d", i)] = made + "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n"
		}
		return out
	}
	b := made + "BOOTPROTO='static'\nSTARTMODE='auto'\n"
	for i, p := range a.addresses {
		b += fmt.Sprintf("IPADDR%s='%s'\n", under(i), p)
	}
	out["/etc/sysconfig/network/ifcfg-eth0"] = b
	if a.gateway.IsValid() {
		out["/etc/sysconfig/network/routes"] = "default " + a.gateway.String() + " - -\n"
	}
	return out
}

func under(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("_%d", n)
}

// interfacesFiles: interfaces(5) of ifupdown, also as Alpine has it.
func interfacesFiles(a addressing) map[string]string {
	b := made + "auto lo\niface lo inet loopback\n\nauto eth0\n"
	if a.dhcp {
		b += "iface eth0 inet dhcp\n"
		for i := 1; i < a.nics; i++ {
			b += fmt.Sprintf("\nallow-hotplug eth%[1]d\niface eth%[1]d inet dhcp\n", i)
		}
		return map[string]string{"/etc/network/interfaces": b}
	}
	for _, p := range a.addresses {
		inet := "inet"
		if p.Addr().Is6() {
			inet = "inet6"
		}
		b += "iface eth0 " + inet + " static\n\taddress " + p.String() + "\n"
		if a.gateway.IsValid() && a.gateway.Is6() == p.Addr().Is6() && strings.Count(b, "gateway") == 0 {
			b += "\tgateway " + a.gateway.String() + "\n"
		}
	}
	out := map[string]string{"/etc/network/interfaces": b}
	if len(a.dns) > 0 {
		b := made
		for _, d := range a.dns {
			b += "nameserver " + d.String() + "\n"
		}
		out["/etc/resolv.conf"] = b
	}
	return out
}

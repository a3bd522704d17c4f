package configure

import (
	"context"
	"path"
	"strings"
)

// oldAgents are the services by which platforms look after their guests; on another platform they wait for a host that is not there.
// qemu-guest-agent stays: it is at home wherever virtio is.
var oldAgents = []string{
	"open-vm-tools", "vmtoolsd", "vgauth", "vmware-tools", // VMware
	"walinuxagent", "waagent", "hv-kvp-daemon", "hv-vss-daemon", "hv-fcopy-daemon", "hypervkvpd", "hypervvssd", "hypervfcopyd", // Azure, Hyper-V
	"amazon-ssm-agent", "snap.amazon-ssm-agent.amazon-ssm-agent", "amazon-cloudwatch-agent", "ec2-instance-connect", // AWS
	"google-guest-agent", "google-startup-scripts", "google-shutdown-scripts", "google-osconfig-agent", // Google
	"aliyun", "aliyun-service", "aegis", "cloudmonitor", "assist-daemon", // Alibaba
	"xe-daemon", "xe-linux-distribution", "vboxadd", "vboxadd-service", "vboxservice", "prltoolsd", // XenServer, VirtualBox, Parallels
}

// agents switches off, when asked, cloud-init and the guest agents of the old platform. Nothing is uninstalled.
func agents(_ context.Context, s *system) error {
	if s.options.DisableCloudInit && s.isDir("/etc/cloud") {
		if err := s.put("/etc/cloud/cloud-init.disabled", "", permFile, "cloud-init does not run"); err != nil {
			return err
		}
	}
	if !s.options.DisableOldAgents {
		return nil
	}
	for _, name := range oldAgents {
		if s.unit(name) != "" {
			if err := s.link("/etc/systemd/system/"+name+".service", "/dev/null", "guest agent of another platform"); err != nil {
				return err
			}
		}
		for _, start := range append(s.glob("/etc/rc[2345].d/S??"+name), s.glob("/etc/runlevels/*/"+name)...) { // System V, OpenRC
			if err := s.remove(start, "guest agent of another platform"); err != nil {
				return err
			}
		}
	}
	return nil
}

// unit returns the path of a systemd service, "" if there is none. A service in /etc is the administrator's; masking moves it aside.
func (s *system) unit(name string) string {
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if at := path.Join(dir, name+".service"); s.isFile(at) {
			return at
		}
	}
	return ""
}

// enabled reports whether a systemd service starts by itself.
func (s *system) enabled(name string) bool {
	for _, link := range s.glob("/etc/systemd/system/*.wants/" + name + ".service") {
		at, err := s.resolve(link, false)
		if err != nil {
			continue
		}
		if to, err := s.root.Readlink(at); err == nil && !strings.HasSuffix(to, "/null") {
			return true
		}
	}
	return false
}

// relabel has SELinux give every file its label at the first start: those that were written here have none.
func relabel(_ context.Context, s *system) error {
	mode, ok := shellValue(s.text("/etc/selinux/config"), "SELINUX")
	if !ok || mode == "disabled" || s.options.WithoutRelabeling || len(s.journal.records) == 0 {
		return nil
	}
	return s.put("/.autorelabel", "", permFile, "SELinux labels all files at the first start")
}

// console lets a person log in at the serial console. systemd does so by itself where the kernel has its console.
func console(_ context.Context, s *system) error {
	tty := s.options.Serial
	if tty == "" {
		return nil
	}
	if s.isFile("/etc/securetty") {
		if err := s.edit("/etc/securetty", "root may log in at "+tty, func(text string) string {
			if strings.Contains("\n"+text, "\n"+tty+"\n") {
				return text
			}
			return appendLine(text, tty)
		}); err != nil {
			return err
		}
	}
	if s.isDir("/etc/systemd/system") || s.program("getty") == "" {
		return nil
	}
	return s.edit("/etc/inittab", "a login at "+tty, func(text string) string {
		for line := range strings.SplitSeq(text, "\n") {
			if strings.Contains(line, tty) && !strings.HasPrefix(line, "#") {
				return text
			}
		}
		id, levels := tty[3:], "2345"
		if s.report.Family == Alpine { // BusyBox init takes the terminal from the id, and has no run levels
			id, levels = tty, ""
		}
		return appendLine(text, id+":"+levels+":respawn:"+s.program("getty")+" -L "+tty+" 115200 vt100")
	})
}

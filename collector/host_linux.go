package collector

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// collectHost finds the operating system, the machine, its processor and memory.
func collectHost(r root) func(context.Context) (Fill, error) {
	return func(ctx context.Context) (Fill, error) {
		h := inventory.Host{
			Hostname: r.read("proc/sys/kernel/hostname"), Architecture: runtime.GOARCH, MachineID: r.read("etc/machine-id"),
			Manufacturer: r.read("sys/class/dmi/id/sys_vendor"), Product: r.read("sys/class/dmi/id/product_name"),
		}
		h.Platform = platform(r, h)
		h.Paravirtual = r.read("sys/hypervisor/type") == "xen" && r.read("sys/hypervisor/guest_type") == "PV"
		for _, name := range r.names("sys/class/raw") {
			if name != "rawctl" {
				h.RawDevices = append(h.RawDevices, "/dev/raw/"+name)
			}
		}
		system := readOS(r)
		processor, memory, uptime, err := vitals(ctx, r)
		h.UptimeSec = uptime
		running := databases(r)
		return func(s *inventory.Server) {
			s.Host, s.OS, s.CPU, s.Memory = h, system, processor, memory
			s.Databases = append(s.Databases, running...)
		}, err
	}
}

// vitals asks gopsutil, told where proc and sys are.
func vitals(ctx context.Context, r root) (c inventory.CPU, m inventory.Memory, uptime int64, err error) {
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: r.path("proc"), common.HostSysEnvKey: r.path("sys"), common.HostEtcEnvKey: r.path("etc"),
	})
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	n, e := cpu.CountsWithContext(ctx, true)
	keep(e)
	c.Count = n
	c.Model = cpuModel(r)
	times, e := cpu.TimesWithContext(ctx, false)
	keep(e)
	if len(times) > 0 {
		c.Usage = percentBusy(times[0])
	}
	if avg, e := load.AvgWithContext(ctx); e == nil {
		c.Load1 = avg.Load1
	} else {
		keep(e)
	}
	if v, e := mem.VirtualMemoryWithContext(ctx); e == nil {
		m = inventory.Memory{Total: int64(v.Total), Available: int64(v.Available)}
	} else {
		keep(e)
	}
	up, _, _ := strings.Cut(r.read("proc/uptime"), ".") // gopsutil asks the running kernel, whatever the root
	uptime, e = strconv.ParseInt(up, 10, 64)
	keep(e)
	return c, m, uptime, err
}

func cpuModel(r root) string {
	lines, _ := r.lines("proc/cpuinfo")
	for _, line := range lines {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// readOS reads who the system says it is. Old releases of the Red Hat family say their minor version in a file of their own only.
func readOS(r root) inventory.OS {
	v := osRelease(r)
	out := inventory.OS{
		Family: inventory.FamilyLinux, ID: v["ID"], Like: strings.Fields(v["ID_LIKE"]), Name: v["PRETTY_NAME"], Version: v["VERSION_ID"],
		Kernel: r.read("proc/sys/kernel/osrelease"), Bits: 64, Locale: locale(r), Timezone: timezone(r),
	}
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		out.Bits = 32
	}
	for _, file := range []string{"etc/centos-release", "etc/oracle-release", "etc/redhat-release", "etc/system-release"} {
		text := r.read(file)
		if exact := versionIn(text); strings.HasPrefix(exact, out.Version) && (out.ID == "" || file != "etc/redhat-release" || out.ID == "rhel" || out.ID == "centos") {
			if exact != "" {
				out.Version = exact
			}
			if out.ID == "" && text != "" { // before os-release: CentOS 6 and the like
				out.ID, out.Name = strings.ToLower(strings.Fields(text)[0]), text
			}
		}
	}
	if exact := r.read("etc/debian_version"); out.ID == "debian" && exact != "" && exact[0] >= '0' && exact[0] <= '9' {
		out.Version = exact
	}
	if r.exists("sys/fs/selinux/enforce") {
		out.SELinux = map[string]string{"1": "enforcing", "0": "permissive"}[r.read("sys/fs/selinux/enforce")]
	} else if r.exists("etc/selinux/config") {
		out.SELinux = "disabled"
	}
	return out
}

// osRelease reads os-release(5); values may be quoted as in a shell.
func osRelease(r root) map[string]string {
	out := map[string]string{}
	for _, file := range []string{"etc/os-release", "usr/lib/os-release"} {
		lines, _ := r.lines(file)
		for _, line := range lines {
			if k, v, ok := strings.Cut(line, "="); ok {
				out[k] = strings.Trim(v, `"'`)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// versionIn finds the first word that is a version: "CentOS Linux release 7.6.1810 (Core)" has 7.6.1810.
func versionIn(text string) string {
	for _, word := range strings.Fields(text) {
		if word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return ""
}

func locale(r root) string {
	for _, file := range []string{"etc/locale.conf", "etc/default/locale", "etc/sysconfig/i18n"} {
		lines, _ := r.lines(file)
		for _, line := range lines {
			if v, ok := strings.CutPrefix(line, "LANG="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return ""
}

func timezone(r root) string {
	if zone := r.read("etc/timezone"); zone != "" {
		return zone
	}
	link, err := os.Readlink(r.path("etc/localtime"))
	if _, zone, ok := strings.Cut(link, "zoneinfo/"); err == nil && ok {
		return zone
	}
	return ""
}

// platform tells who runs the machine from what the firmware says of itself (DMI), as cloud-init's ds-identify does.
func platform(r root, h inventory.Host) string {
	dmi := func(name string) string { return r.read(filepath.Join("sys/class/dmi/id", name)) }
	all := strings.ToLower(strings.Join([]string{h.Manufacturer, h.Product, dmi("bios_vendor"), dmi("board_vendor"), dmi("chassis_vendor"), dmi("chassis_asset_tag"), dmi("product_version")}, "\n"))
	for _, p := range []struct{ sign, name string }{
		{"huawei", "hw"}, {"alibaba", "ali"}, {"amazon", "aws"}, {"7783-7084-3265-9085-8269-3286-77", "azure"}, {"google", "gcp"},
		{"tencent", "tencent"}, {"vmware", "vmware"}, {"microsoft corporation", "hyperv"}, {"virtualbox", "virtualbox"},
		{"openstack", "kvm"}, {"qemu", "kvm"}, {"kvm", "kvm"}, {"red hat", "kvm"}, {"bochs", "kvm"},
	} {
		if strings.Contains(all, p.sign) {
			return p.name
		}
	}
	switch {
	case strings.HasPrefix(strings.ToLower(r.read("sys/hypervisor/uuid")), "ec2"):
		return "aws"
	case r.read("sys/hypervisor/type") == "xen":
		return "xen"
	case strings.Contains(r.read("proc/cpuinfo"), "hypervisor"):
		return "other"
	case h.Manufacturer != "":
		return "physical"
	default:
		return "other"
	}
}

// findTools looks where programs are; it starts none. The search path of a service is short, so the usual places are added.
func findTools(r root) []inventory.Tool {
	dirs := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	out := []inventory.Tool{}
	for _, name := range []string{"rsync", "tc", "ssh", "grub2-install", "grub-install", "dracut", "update-initramfs", "mkinitrd", "lvm", "btrfs", "fsfreeze", "xfs_freeze", "iptables", "cloud-init"} {
		t := inventory.Tool{Name: name}
		for _, dir := range dirs {
			if st, err := os.Stat(r.path(dir + "/" + name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				t.Path = dir + "/" + name
				break
			}
		}
		out = append(out, t)
	}
	return out
}

// databases lists the known databases that run, by the names of processes.
func databases(r root) (out []string) {
	seen := map[string]bool{}
	for _, pid := range r.names("proc") {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		name := r.read(filepath.Join("proc", pid, "comm"))
		if databaseNames[name] && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// databaseNames are command names as the kernel keeps them: at most fifteen characters.
var databaseNames = map[string]bool{
	"mysqld": true, "mariadbd": true, "postgres": true, "mongod": true, "redis-server": true, "oracle": true, "tnslsnr": true, "db2sysc": true, "sqlservr": true,
	"influxd": true, "cassandra": true, "etcd": true, "clickhouse-serv": true, "slapd": true, "dameng": true, "dmserver": true, "beam.smp": true,
}

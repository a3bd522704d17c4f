package collector

import (
	"fmt"
	"sort"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Level is how much a finding matters.
type Level string

// The levels, as the SMS API spells them.
const (
	LevelOK    Level = "OK"
	LevelWarn  Level = "WARN"  // the migration works, with a loss or a condition
	LevelError Level = "ERROR" // the migration would fail, or its result would not work
)

// Finding is one result of Preflight. Code is stable. Remedy is empty only when there is nothing to do.
type Finding struct {
	Level   Level  `json:"level"`
	Code    string `json:"code"`
	Subject string `json:"subject,omitempty"` // the device, mount or program it is about
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy,omitempty"`
}

// Preflight says what would stop or weaken a migration of the server, each with a remedy: errors first, then warnings, then what is
// good or merely worth knowing. Limits of the Huawei SMS service that are none of Ferry's are named as such.
func Preflight(s *inventory.Server) []Finding {
	var f findings
	for _, check := range []func(*inventory.Server, *findings){
		checkSeen, checkMachine, checkSystem, checkBoot, checkVirtio, checkSpace, checkDisks, checkContent, checkGroups, checkMounts, checkFstab,
		checkNetwork, checkDatabases, checkTools, checkWindows,
	} {
		check(s, &f)
	}
	rank := map[Level]int{LevelError: 0, LevelWarn: 1, LevelOK: 2}
	sort.SliceStable(f.list, func(i, j int) bool { return rank[f.list[i].Level] < rank[f.list[j].Level] })
	return f.list
}

// findings collects what checks find.
type findings struct{ list []Finding }

func (f *findings) add(l Level, code, subject, reason, remedy string) {
	f.list = append(f.list, Finding{l, code, subject, reason, remedy})
}

func (f *findings) ok(code, subject, reason string) { f.add(LevelOK, code, subject, reason, "") }

func (f *findings) warn(code, subject, reason, remedy string) {
	f.add(LevelWarn, code, subject, reason, remedy)
}

func (f *findings) error(code, subject, reason, remedy string) {
	f.add(LevelError, code, subject, reason, remedy)
}

// checkSeen turns what is missing from the inventory into findings: what nobody saw, nobody can migrate.
func checkSeen(s *inventory.Server, f *findings) {
	if len(s.Missing) == 0 {
		f.ok("FERRY-SEEN", "", "everything could be looked at")
	}
	for _, m := range s.Missing {
		subject := strings.TrimSpace(m.Part + " " + m.Subject)
		switch {
		case lacksRights(m):
			remedy := "run ferry as root; in a container, give it the devices of the host"
			if s.OS.Family == inventory.FamilyWindows {
				remedy = "run ferry as Administrator"
			}
			f.error("FERRY-PERMISSION", subject, "cannot be looked at: "+m.Reason, remedy)
		case m.Part == "mounts" && m.Subject != "":
			f.error("FERRY-MOUNT-STUCK", m.Subject, m.Reason, "bring its server back, or unmount it with umount -l; programs that touch it hang")
		default:
			f.error("FERRY-NOT-SEEN", subject, m.Reason, "look at the system log for this device; without its data the migration is not whole")
		}
	}
}

// lacksRights reports whether something was not seen for want of rights.
func lacksRights(m inventory.Missing) bool {
	return strings.Contains(m.Reason, errRights.Error()) || strings.Contains(m.Reason, "operation not permitted")
}

// checkMachine looks at processor and memory.
func checkMachine(s *inventory.Server, f *findings) {
	switch s.Host.Architecture {
	case "amd64":
	case "arm64":
		f.warn("FERRY-ARCHITECTURE", "", "the server is arm64", "choose an arm64 target; the SMS service takes x86 only")
	default:
		f.error("FERRY-ARCHITECTURE", "", "Ferry does not run on "+s.Host.Architecture, "migrate its data from another machine that mounts it")
	}
	if s.Host.Paravirtual {
		f.error("FERRY-PARAVIRTUAL", "", "a Xen guest without hardware virtualisation: its kernel starts nowhere else", "install a kernel with HVM support, or migrate at file level onto a target with its own kernel")
	}
	const mib = 1 << 20
	switch m := s.Memory; {
	case m.Total == 0:
	case m.Available < 256*mib:
		f.error("FERRY-MEMORY", "", "only "+size(m.Available)+" of memory are free", "free 256 MiB, better 520 MiB, or run with --memory 64MiB --streams 1")
	case m.Available < 520*mib || float64(m.Available) < 0.25*float64(m.Total):
		f.warn("FERRY-MEMORY", "", size(m.Available)+" of "+size(m.Total)+" memory are free", "have 520 MiB and a quarter of the memory free while the migration runs")
	default:
		f.ok("FERRY-MEMORY", "", size(m.Available)+" of memory are free")
	}
	if s.CPU.Count > 0 {
		if load := s.CPU.Load1 / float64(s.CPU.Count); load > 0.8 {
			f.warn("FERRY-CPU-BUSY", "", fmt.Sprintf("the load is %.0f %% of what the processors can do", load*100), "migrate at a quiet time, or set --limit and --compress none")
		} else {
			f.ok("FERRY-CPU-BUSY", "", fmt.Sprintf("%d processors, load %.2f", s.CPU.Count, s.CPU.Load1))
		}
	}
}

// checkSystem looks at the operating system.
func checkSystem(s *inventory.Server, f *findings) {
	var major, minor int
	if n, _ := fmt.Sscanf(s.OS.Kernel, "%d.%d", &major, &minor); n == 2 && s.OS.Family == inventory.FamilyLinux {
		switch {
		case major < 3 || major == 3 && minor < 10:
			f.error("FERRY-KERNEL-OLD", "", "kernel "+s.OS.Kernel+" is older than 3.10", "update the kernel, or migrate the disks from outside the machine")
		case major < 5 || major == 5 && minor < 5:
			f.warn("FERRY-KERNEL-NO-TRACKING", "", "kernel "+s.OS.Kernel+" cannot track changed blocks (needs 5.5 with BTF)", "none needed: each sync reads all used blocks and compares digests, which takes longer")
		}
	}
	if s.OS.Bits == 32 {
		f.error("FERRY-32BIT", "", "a 32-bit system", "migrate its disks from outside the machine")
	}
	if s.OS.SELinux == "enforcing" {
		f.ok("FERRY-SELINUX", "", "SELinux is enforcing: labels are copied; a target that lacks them relabels at its first start")
	}
}

// checkBoot looks at what a target needs to start.
func checkBoot(s *inventory.Server, f *findings) {
	b := s.Boot
	if b.Firmware != "" {
		f.ok("FERRY-FIRMWARE", "", "starts by "+b.Firmware+": choose a target with the same firmware")
	}
	if b.SecureBoot {
		f.warn("FERRY-SECURE-BOOT", "", "secure boot is on", "switch it off on the target, or enrol the keys there: an initramfs is rebuilt, drivers of the source are not signed for it")
	}
	if b.OtherOS {
		f.warn("FERRY-MULTI-BOOT", "", "another operating system is on the disks", "migrate at block level to keep it; only this one is made bootable. The SMS service refuses such servers")
	}
	if s.OS.Family != inventory.FamilyLinux {
		return
	}
	switch b.Loader {
	case "":
		f.warn("FERRY-BOOT-LOADER", "", "no boot loader was found", "install GRUB 2 on the source, or expect to do so on the target")
	case "grub2":
	default:
		f.warn("FERRY-BOOT-LOADER", "", "the boot loader is "+b.Loader, "Ferry configures GRUB 2 only: install it, or configure the target's loader by hand. The SMS service takes GRUB only")
	}
	if b.Loader == "grub2" && b.Firmware == "BIOS" && !b.LoaderBIOS {
		f.warn("FERRY-GRUB-BIOS", "", "GRUB's i386-pc files are missing (SMS.6562)", "install grub-pc-bin (Debian) or grub2-pc-modules (Red Hat)")
	}
	if b.Initramfs == "" {
		f.warn("FERRY-INITRAMFS", "", "the running kernel has no initramfs in /boot (SMS.6563)", "make one with dracut or update-initramfs, unless all drivers are built in")
	}
	if b.Kernels == 0 {
		f.warn("FERRY-KERNEL-MISSING", "", "no kernel is installed in /boot", "a target that starts from its own disk needs one; a container or a machine with an external kernel can move its data only")
	}
}

// checkVirtio looks for drivers of a KVM target.
func checkVirtio(s *inventory.Server, f *findings) {
	if s.OS.Family != inventory.FamilyLinux {
		return
	}
	v := s.Boot.Virtio
	absent := map[string]bool{}
	for _, d := range v.Absent {
		absent[d] = true
	}
	switch {
	case absent["virtio_pci"], absent["virtio_blk"] && absent["virtio_scsi"]:
		f.error("FERRY-VIRTIO", "", "the kernel lacks drivers of a KVM target: "+strings.Join(v.Absent, ", "), "install a kernel with virtio (the distribution's standard one has it), or choose another kind of target")
	case absent["virtio_net"]:
		f.warn("FERRY-VIRTIO", "", "the kernel lacks virtio_net: a KVM target has no network", "install a kernel with virtio_net")
	case len(v.Loadable) > 0 && v.Checked == "modules":
		f.ok("FERRY-VIRTIO", "", strings.Join(v.Loadable, ", ")+" are modules: the target's initramfs gets them")
	case len(v.Loadable) > 0:
		f.ok("FERRY-VIRTIO", "", strings.Join(v.Loadable, ", ")+" are not in the initramfs: the target's is rebuilt with them")
	default:
		f.ok("FERRY-VIRTIO", "", "the drivers of a KVM target are there")
	}
}

// checkDatabases warns of data that changes while it is copied.
func checkDatabases(s *inventory.Server, f *findings) {
	if len(s.Databases) > 0 {
		f.warn("FERRY-DATABASE", strings.Join(s.Databases, ", "), "runs: its files are consistent only at one instant", "migrate its volume at block level, or stop it before the last sync; --before-freeze and --after-thaw can flush it")
	}
}

// checkTools looks for what the SMS service asks for. Ferry needs none of it.
func checkTools(s *inventory.Server, f *findings) {
	if s.OS.Family != inventory.FamilyLinux {
		return
	}
	for _, t := range []struct{ name, code, why string }{
		{"rsync", "FERRY-SMS-RSYNC", "SMS.6517"}, {"tc", "FERRY-SMS-TC", "rate limits"}, {"ssh", "FERRY-SMS-SSH", "SMS.1402"},
	} {
		if !s.Find(t.name) {
			f.ok(t.code, t.name, "is not installed: Ferry does not need it, the SMS service's own agent does ("+t.why+")")
		}
	}
	if l := strings.ToLower(s.OS.Locale); l != "" && !strings.Contains(l, "utf-8") && !strings.Contains(l, "utf8") {
		f.ok("FERRY-SMS-LOCALE", "", "the locale is "+s.OS.Locale+": Ferry takes names as they are, the SMS service's own agent wants UTF-8")
	}
	for _, m := range s.Mounts {
		if m.Path == "/tmp" && strings.Contains(","+m.Options+",", ",noexec,") {
			f.ok("FERRY-SMS-TMP", "/tmp", "is mounted noexec: Ferry does not need it, the SMS service's own agent does")
		}
	}
}

// checkWindows looks at what only Windows has.
func checkWindows(s *inventory.Server, f *findings) {
	w := s.Windows
	if w == nil {
		return
	}
	if !w.Elevated {
		f.error("FERRY-PERMISSION", "", "ferry does not run as Administrator", "run it as Administrator, or as the Ferry service")
	}
	for _, d := range w.DynamicDisks {
		f.warn("FERRY-DYNAMIC-DISK", d, "is a dynamic disk", "migrate all dynamic disks together at block level; the target keeps them dynamic")
	}
	for _, svc := range w.Services {
		if svc.Name == "VSS" && (svc.State == "absent" || svc.Start == "disabled") {
			state := svc.State
			if svc.Start != "" {
				state = svc.Start
			}
			f.error("FERRY-VSS", svc.Name, "the Volume Shadow Copy service is "+state+" (SMS.6533)", "set the service VSS to start manually")
		}
	}
	const mib = 1 << 20
	for _, v := range w.Volumes { // the shadow copy of a volume keeps there what changes while it is read (FAQ 4.1)
		need := int64(320 * mib)
		if v.Size < 600*mib {
			need = 40 * mib
		}
		if v.Kind == "fixed" && strings.EqualFold(v.Filesystem, "ntfs") && v.Free < need {
			f.warn("FERRY-SPACE-SHADOW", strings.Join(append(v.Paths, v.Label), " "), "only "+size(v.Free)+" are free: a shadow copy of it may fail", "free "+size(need))
		}
	}
	for _, name := range sortedKeys(w.Drivers) {
		if !w.Drivers[name] {
			f.warn("FERRY-VIRTIO", name, "is not installed (SMS.6511)", "install the virtio drivers before cutover, or choose a target whose hardware Windows knows")
		}
	}
}

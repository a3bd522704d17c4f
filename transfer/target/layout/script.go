package layout

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Action is one step of a script.
type Action struct {
	Argv []string // the command; nil for the table of Disk, which Ferry writes itself
	Disk *Disk
	// KeepBoot leaves the boot code before an MBR's table. A new table begins without.
	KeepBoot bool
	// Wipe is done before the command each time: what signatures are left on its devices would be found later, or refused by it.
	Wipe []string
	// Fine is an exit code that is no failure, beside 0.
	Fine int
	// In is a filesystem that is mounted while the command runs, nil for none.
	In *Mountpoint
	// Proof shows that the action is done.
	Proof Proof
	// State is true for what no disk keeps, only the running system: it is looked at each time, and Undo ends it.
	State bool
	Undo  []string
	// Once is true where doing it again would fail: it is left alone where the proof holds, whatever the journal says.
	Once bool
}

// Proof is how an action is checked: what another command says, and devices that are there. Without either there is nothing to see: the
// journal alone knows.
type Proof struct {
	Argv  []string
	Says  []string // each has to be the end of a line of its output
	Nodes []string
}

// Mountpoint is a filesystem to be mounted.
type Mountpoint struct {
	Device  string
	Dir     string
	Type    string
	Options string
}

// argv is the mount command.
func (m *Mountpoint) argv() []string {
	argv := []string{"mount", "-t", m.Type}
	if m.Options != "" {
		argv = append(argv, "-o", m.Options)
	}
	return append(argv, m.Device, m.Dir)
}

// String returns the action as a person would type it, or says what Ferry does itself.
func (a *Action) String() string {
	if a.Argv == nil {
		return a.Disk.describe()
	}
	line := typed(a.Argv)
	if a.Wipe != nil {
		line = typed(a.Wipe) + " && " + line
	}
	if a.In != nil {
		line = typed(a.In.argv()) + " && " + line + " && umount " + quote(a.In.Dir)
	}
	return line
}

// String returns the command that mounts it.
func (m *Mountpoint) String() string { return "mkdir -p " + quote(m.Dir) + " && " + typed(m.argv()) }

var plain = regexp.MustCompile(`^[0-9A-Za-z_@%+=:,./^-]+$`)

func typed(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes a word of s for a shell.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// describe says what table the disk gets.
func (d *Disk) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# ferry writes the %s table of %s, id %s, and tells the kernel", d.Table.Style, d.Name, d.Table.ID)
	for _, p := range d.Table.sorted() {
		fmt.Fprintf(&b, "\n#   %-3d start %-14d size %-14d type %s", p.Index, p.Start, p.Size, p.Type)
		if p.UUID != "" {
			fmt.Fprintf(&b, " uuid %s", p.UUID)
		}
		if p.Label != "" {
			fmt.Fprintf(&b, " name %s", quote(p.Label))
		}
		if p.Boot {
			b.WriteString(" boot")
		}
	}
	return b.String()
}

// Script lists what makes a fitted plan, in order. Descriptions of volume groups lie in dir, where Run writes them; filesystems that have to be mounted
// meanwhile are below it too.
func Script(p *Plan, dir string) []Action {
	var out []Action
	for i := range p.Disks {
		d := &p.Disks[i]
		if d.Table != nil {
			out = append(out, Action{Argv: wipe(d.Name)}, Action{Disk: d})
		}
	}
	for i := range p.Groups {
		out = append(out, p.groupActions(&p.Groups[i], dir)...)
	}
	for _, at := range p.places() {
		if at.use.Type != LVM && (at.use.Type != Btrfs || at.use.Trees != nil) {
			out = append(out, p.make(at))
		}
	}
	for _, at := range p.places() {
		if at.use.Trees != nil {
			out = append(out, p.subvolumes(at, dir)...)
		}
	}
	return out
}

// wipe removes the signatures of what devices held.
func wipe(devices ...string) []string {
	return append([]string{"wipefs", "--all", "--quiet"}, devices...)
}

// signature is the proof that blkid finds something on a device.
func signature(device, kind, uuid string) Proof {
	return Proof{Argv: []string{"blkid", "--probe", "--output", "export", device}, Says: []string{"TYPE=" + kind, "UUID=" + uuid}}
}

// groupActions make a volume group and activate it.
func (p *Plan) groupActions(g *Group, dir string) (out []Action) {
	only := []string{"--devices", p.devices(g)}
	for _, at := range p.physical(g.Name) {
		argv := append([]string{"pvcreate", "-ff", "--yes", "--quiet"}, only...)
		out = append(out, Action{
			Wipe:  wipe(at.device),
			Argv:  append(argv, "--uuid", at.use.UUID, "--restorefile", groupFile(dir, g), at.device),
			Proof: signature(at.device, "LVM2_member", at.use.UUID),
		})
	}
	report := func(field string) []string {
		return append(append([]string{"vgs", "--noheadings", "--options", field}, only...), g.Name)
	}
	out = append(out, Action{
		Argv:  append(append([]string{"vgcfgrestore", "--yes", "--quiet"}, only...), "--file", groupFile(dir, g), g.Name),
		Proof: Proof{Argv: report("vg_uuid"), Says: []string{g.UUID}},
	})
	activate := func(how string) []string {
		return append(append([]string{"vgchange", "--quiet", "--activate", how}, only...), g.Name)
	}
	if len(g.Volumes) == 0 {
		return out
	}
	var nodes []string
	for _, v := range g.Volumes {
		nodes = append(nodes, "/dev/"+g.Name+"/"+v.Name)
	}
	return append(out, Action{Argv: activate("y"), Undo: activate("n"), State: true, Proof: Proof{Nodes: nodes}})
}

// groupFile is where the description of a group lies.
func groupFile(dir string, g *Group) string { return path.Join(dir, g.Name+".vg") }

// make makes what a place holds.
func (p *Plan) make(at place) Action {
	devices := p.members(at)
	return Action{Wipe: wipe(devices...), Argv: at.use.maker(devices, at.size), Proof: signature(at.device, at.use.Type, at.use.UUID)}
}

// members are the devices of what is at a place: several only for Btrfs.
func (p *Plan) members(at place) []string {
	devices := []string{at.device}
	for _, other := range p.places() {
		if at.use.Type == Btrfs && other.use.Type == Btrfs && strings.EqualFold(other.use.UUID, at.use.UUID) && other.device != at.device {
			devices = append(devices, other.device)
		}
	}
	return devices
}

// mountpoint is how what is at a place is mounted in a directory.
func (p *Plan) mountpoint(at place, dir string, options ...string) *Mountpoint {
	if devices := p.members(at); len(devices) > 1 {
		for _, d := range devices {
			options = append(options, "device="+d)
		}
	}
	return &Mountpoint{Device: at.device, Dir: dir, Type: at.use.Type, Options: strings.Join(options, ",")}
}

// subvolumes makes those of a Btrfs filesystem, and sets the default one.
func (p *Plan) subvolumes(at place, dir string) (out []Action) {
	top := path.Join(dir, "top")
	in := p.mountpoint(at, top, "subvolid=5")
	t := at.use.Trees
	paths := slices.Clone(t.Subvolumes)
	slices.Sort(paths) // parents first
	for _, s := range paths {
		name := path.Join(top, s)
		if parent := path.Dir(s); parent != "." && !slices.Contains(paths, parent) {
			out = append(out, Action{Argv: []string{"mkdir", "-p", path.Join(top, parent)}, In: in, Once: true, Proof: Proof{Nodes: []string{path.Join(top, parent)}}})
		}
		out = append(out, Action{
			Argv: []string{"btrfs", "subvolume", "create", name}, In: in, Once: true, Proof: Proof{Argv: []string{"btrfs", "subvolume", "show", name}},
		})
	}
	if t.Default != "" {
		out = append(out, Action{
			Argv: []string{"btrfs", "subvolume", "set-default", path.Join(top, t.Default)}, In: in,
			Proof: Proof{Argv: []string{"btrfs", "subvolume", "get-default", top}, Says: []string{"path " + t.Default}},
		})
	}
	return out
}

// Tools lists the programs that actions and their proofs start.
func Tools(script []Action) []string {
	out := []string{"mount", "blkid"}
	for _, a := range script {
		for _, argv := range [][]string{a.Wipe, a.Argv, a.Proof.Argv, a.Undo} {
			if len(argv) > 0 {
				out = append(out, argv[0])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Volumes lists the filesystems of a fitted plan as they are mounted side by side below dir, each under the name that name makes of its place in the
// system's tree.
func Volumes(p *Plan, dir string, name func(string) string) []Mountpoint {
	return p.mounts(func(at string) string { return path.Join(dir, name(at)) })
}

// Tree lists the filesystems of a fitted plan as they are mounted below root in the order in which one can be mounted on the other: as the system has
// them when it runs.
func Tree(p *Plan, root string) []Mountpoint {
	return p.mounts(func(at string) string { return path.Join(root, at) })
}

func (p *Plan) mounts(where func(string) string) (out []Mountpoint) {
	for _, at := range p.places() {
		for _, m := range at.use.Mounts {
			options := []string{}
			if at.use.Type == Btrfs && m.Subvolume != "" {
				options = append(options, "subvol=/"+m.Subvolume)
			} else if at.use.Type == Btrfs {
				options = append(options, "subvolid=5")
			}
			out = append(out, *p.mountpoint(at, where(m.Path), options...))
		}
	}
	slices.SortFunc(out, func(a, b Mountpoint) int { return strings.Compare(a.Dir, b.Dir) })
	return out
}

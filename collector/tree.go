package collector

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// WriteTree prints the inventory for a person: a few lines on the host, then disk → partition → volume group → logical volume →
// filesystem → mount, each with how full it is, then what is missing.
func WriteTree(w io.Writer, s *inventory.Server) error {
	t := &tree{s: s, mounts: mountsByPlace(s)}
	t.roots()
	var b strings.Builder
	writeHost(&b, s)
	t.write(&b)
	writeMissing(&b, s)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHost(b *strings.Builder, s *inventory.Server) {
	if s.OS.Family == "" {
		return // images only
	}
	firmware := s.Boot.Firmware
	if s.Boot.SecureBoot {
		firmware += " with secure boot"
	}
	fmt.Fprintf(b, "%s  %s, kernel %s, %s\n", s.Host.Hostname, s.OS.Name, s.OS.Kernel, s.Host.Architecture)
	facts := []string{fmt.Sprintf("%d CPU", s.CPU.Count), fmt.Sprintf("%s memory (%s free)", size(s.Memory.Total), size(s.Memory.Available)), "platform " + s.Host.Platform, firmware, s.Boot.Loader}
	fmt.Fprintf(b, "  %s\n", strings.Join(nonEmpty(facts), ", "))
	for _, n := range s.NICs {
		if n.Kind != "loopback" && len(n.Addresses) > 0 {
			fmt.Fprintf(b, "  %s  %s  %s\n", n.Name, n.MAC, strings.Join(n.Addresses, " "))
		}
	}
	b.WriteByte('\n')
}

// writeMissing names what was not seen, and what would help.
func writeMissing(b *strings.Builder, s *inventory.Server) {
	rights := false
	for i, m := range s.Missing {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "not seen: %s: %s\n", strings.TrimSpace(m.Part+" "+m.Subject), m.Reason)
		rights = rights || lacksRights(m)
	}
	if rights {
		b.WriteString("Run as root (Administrator on Windows) to see all of it.\n")
	}
}

// line is one device in the tree.
type line struct {
	name  string // with its branches
	size  int64
	what  string
	mount string
	usage *inventory.Usage
}

type tree struct {
	s      *inventory.Server
	mounts map[string][]string
	lines  []line
	drawn  map[string]bool
}

// node is a device, and what is made of it.
type node struct {
	line
	children []node
}

// mountsByPlace lists mount points by the device they are mounted from, bind mounts aside.
func mountsByPlace(s *inventory.Server) map[string][]string {
	x, out := newIndex(s), map[string][]string{}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if p := x.source(m); p != nil && !m.Bind {
			path := m.Path
			if m.Overmount {
				path += " (hidden)"
			}
			out[p.name] = append(out[p.name], path)
		}
	}
	for _, sw := range s.Swaps {
		out[sw.Name] = append(out[sw.Name], "[swap]")
	}
	return out
}

func (t *tree) roots() {
	t.drawn = map[string]bool{}
	for i := range t.s.Disks {
		if k := &t.s.Disks[i]; len(k.Slaves) == 0 || k.Kind == inventory.KindMultipath {
			t.add(t.disk(k), "", "")
		}
	}
	if w := t.s.Windows; w != nil {
		t.volumes(w.Volumes)
	}
	for g := range t.s.VolumeGroups { // those whose devices are not in the tree
		if vg := &t.s.VolumeGroups[g]; !t.drawn[vg.UUID] {
			t.add(t.group(vg), "", "")
		}
	}
}

// volumes adds those of Windows that are on no disk in the tree, because disks could not be read or are of a network.
func (t *tree) volumes(list []inventory.WindowsVolume) {
	shown := map[string]bool{}
	for _, k := range t.s.Disks {
		for _, p := range k.Partitions {
			shown[p.Name] = true
		}
	}
	for _, v := range list {
		if shown[v.GUIDPath] {
			continue
		}
		l := line{name: v.GUIDPath, size: v.Size, what: strings.Join(nonEmpty([]string{strings.ToLower(v.Filesystem), v.Label, v.Kind}), ", "), mount: strings.Join(v.Paths, " ")}
		if v.Size > 0 {
			l.usage = &inventory.Usage{Used: v.Size - v.Free, Free: v.Free}
		}
		t.add(node{line: l}, "", "")
	}
}

func (t *tree) add(n node, first, rest string) {
	n.name = first + n.name
	t.lines = append(t.lines, n.line)
	for i, c := range n.children {
		if i == len(n.children)-1 {
			t.add(c, rest+"└─", rest+"  ")
		} else {
			t.add(c, rest+"├─", rest+"│ ")
		}
	}
}

func (t *tree) disk(k *inventory.Disk) node {
	what := []string{string(k.Kind)}
	if k.Table != nil {
		what = append(what, string(k.Table.Style))
	}
	model, detail := k.Model, ending(k.Detail, 24)
	if k.Content != nil { // there is enough to say of it
		model = ""
	}
	if strings.Contains(k.Name, k.Detail) {
		detail = ""
	}
	what = append(what, nonEmpty([]string{k.Transport, model, detail, k.Unread})...)
	if len(k.Paths) > 1 {
		what = append(what, fmt.Sprintf("%d paths", len(k.Paths)))
	}
	if k.Kind == inventory.KindImage && k.Content == nil && k.Table == nil && k.Unread == "" {
		what = append(what, "nothing recognised")
	}
	n := t.place(k.Name, k.Size, k.Content, what...)
	for i := range k.Partitions {
		p := &k.Partitions[i]
		var what []string
		if p.Content == nil {
			what = append(what, p.TypeName, p.Unread)
		}
		if p.Bootable {
			what = append(what, "boot")
		}
		n.children = append(n.children, t.place(p.Name, p.Size, p.Content, what...))
	}
	return n
}

// place draws a device with its content, and below it what is made of it.
func (t *tree) place(name string, bytes int64, c *inventory.Content, what ...string) node {
	n := node{line: line{name: name, size: bytes, mount: strings.Join(t.mounts[name], " ")}}
	if c != nil {
		n.usage = c.Usage
		kind := c.Type
		if c.Label != "" {
			kind += " " + c.Label
		}
		what = append([]string{kind}, what...)
		if len(c.Problems) > 0 {
			what = append(what, "! "+strings.Join(c.Problems, "; "))
		}
	}
	n.what = strings.Join(nonEmpty(what), ", ")
	for g := range t.s.VolumeGroups {
		vg := &t.s.VolumeGroups[g]
		for _, pv := range vg.Physical {
			if pv.Device == name && !t.drawn[vg.UUID] {
				n.children = append(n.children, t.group(vg))
			} else if pv.Device == name {
				n.what += " of " + vg.Name
			}
		}
	}
	for i := range t.s.Disks {
		if k := &t.s.Disks[i]; len(k.Slaves) > 0 && k.Slaves[0] == name && k.Kind != inventory.KindMultipath && !t.drawn[k.Name] {
			t.drawn[k.Name] = true
			n.children = append(n.children, t.disk(k))
		}
	}
	return n
}

func nonEmpty(list []string) (out []string) {
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (t *tree) group(vg *inventory.VolumeGroup) node {
	t.drawn[vg.UUID] = true
	what, bytes := fmt.Sprintf("volume group, %s free", size(vg.Free)), vg.Size
	if vg.Size == 0 { // its metadata could not be read
		what, bytes = "volume group", -1
	}
	if len(vg.Problems) > 0 {
		what += ", ! " + strings.Join(vg.Problems, "; ")
	}
	n := node{line: line{name: vg.Name, size: bytes, what: what}}
	for i := range vg.Logical {
		lv := &vg.Logical[i]
		if lv.Internal {
			continue
		}
		what := []string{lv.Kind, lv.Unread}
		if !lv.Active {
			what = append(what, "inactive")
		}
		c := t.place(lv.Device, lv.Size, lv.Content, what...)
		c.name = lv.Name
		n.children = append(n.children, c)
	}
	return n
}

// write aligns the columns: name, size, content, bar, mount points. Content with nothing beside it may be longer than its column.
func (t *tree) write(b *strings.Builder) {
	var name, what int
	for _, l := range t.lines {
		name = max(name, utf8.RuneCountInString(l.name))
		if l.usage != nil || l.mount != "" {
			what = max(what, min(utf8.RuneCountInString(l.what), 44))
		}
	}
	for _, l := range t.lines {
		row := fmt.Sprintf("%s  %9s  %s  %s  %s", pad(l.name, name), size(l.size), pad(l.what, what), bar(l.usage), l.mount)
		b.WriteString(strings.TrimRight(row, " ") + "\n")
	}
}

// ending is the end of a long text, which tells paths apart better than their beginning.
func ending(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return "…" + string(r[len(r)-width+1:])
	}
	return s
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// bar shows how full something is: ten cells and a percentage; blank when it is not known.
func bar(u *inventory.Usage) string {
	if u == nil || u.Used+u.Free <= 0 {
		return strings.Repeat(" ", 15)
	}
	percent := int(float64(u.Used) / float64(u.Used+u.Free) * 100)
	full := min((percent+5)/10, 10)
	return fmt.Sprintf("%s%s %3d%%", strings.Repeat("█", full), strings.Repeat("░", 10-full), percent)
}

// size prints bytes with a binary unit, as lsblk does; nothing for a size that is not known.
func size(n int64) string {
	if n < 0 {
		return ""
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v == float64(int64(v)) || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

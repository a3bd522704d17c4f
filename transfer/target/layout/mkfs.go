package layout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// extFeatures are what mke2fs (since 1.43) can be asked for. Left out: what comes and goes while mounted, needs more than a word (bigalloc), or has a
// meaning on one machine only (mmp).
var extFeatures = []string{"has_journal", "ext_attr", "resize_inode", "dir_index", "sparse_super", "sparse_super2", "filetype", "meta_bg", "extent", "64bit", "flex_bg",
	"ea_inode", "large_dir", "inline_data", "encrypt", "casefold", "metadata_csum", "metadata_csum_seed", "large_file", "huge_file", "uninit_bg", "dir_nlink",
	"extra_isize", "quota", "project", "verity", "stable_inodes"}

// maker is the command that makes what u describes on the devices given: more than one for Btrfs only. Features are asked for one by one, those that the
// source lacks included: a tool of today turns on what the source's kernel may not know.
func (u *Use) maker(devices []string, size int64) []string {
	var argv []string
	option := func(name, value string) {
		if value != "" && value != "0" {
			argv = append(argv, name, value)
		}
	}
	number := func(name string, n int64) { option(name, strconv.FormatInt(n, 10)) }
	switch u.Type {
	case Swap:
		argv = []string{"mkswap", "--uuid", u.UUID}
		option("--label", u.Label)
		if u.Block != 4096 {
			number("--pagesize", u.Block)
		}
	case VFAT:
		argv = []string{"mkfs.vfat", "-i", strings.ReplaceAll(u.UUID, "-", "")}
		option("-n", u.Label)
		for _, bits := range []string{"12", "16", "32"} {
			if u.has("FAT" + bits) {
				option("-F", bits)
			}
		}
		number("-s", u.Block/512)
	case XFS:
		argv = u.xfs(size)
	case Btrfs:
		argv = u.btrfs()
	default:
		argv = []string{"mkfs." + u.Type, "-q", "-F", "-U", u.UUID}
		option("-L", u.Label)
		number("-b", u.Block)
		number("-I", u.Inode)
		number("-i", u.PerIno)
		if len(u.Has) > 0 {
			asked := slices.DeleteFunc(slices.Clone(u.Has), func(f string) bool { return !slices.Contains(extFeatures, f) })
			option("-O", strings.Join(append([]string{"none"}, asked...), ","))
		}
	}
	return append(argv, devices...)
}

func (u *Use) has(feature string) bool { return slices.Contains(u.Has, feature) }

// flag is NAME=1 or NAME=0.
func (u *Use) flag(feature string) string {
	if u.has(feature) {
		return feature + "=1"
	}
	return feature + "=0"
}

// smallXFS is the size below which mkfs.xfs wants to be told that it is meant (xfsprogs 5.19).
const smallXFS = 300 * mib

// xfs needs xfsprogs 6.0: that knows all the features that later ones turn on.
func (u *Use) xfs(size int64) []string {
	meta, inode, name := []string{"uuid=" + u.UUID}, []string{}, []string{}
	if len(u.Has) > 0 || u.Inode > 0 {
		for _, f := range []string{"crc", "finobt", "rmapbt", "reflink", "bigtime", "inobtcount"} {
			meta = append(meta, u.flag(f))
		}
		inode = append(inode, u.flag("sparse"), u.flag("nrext64"))
		if !u.has("crc") {
			name = append(name, u.flag("ftype"))
		}
	}
	if u.Inode > 0 {
		inode = append(inode, fmt.Sprintf("size=%d", u.Inode))
	}
	argv := []string{"mkfs.xfs", "-q", "-f", "-m", strings.Join(meta, ",")}
	if u.Label != "" {
		argv = append(argv, "-L", u.Label)
	}
	if u.Block > 0 {
		argv = append(argv, "-b", fmt.Sprintf("size=%d", u.Block))
	}
	if len(inode) > 0 {
		argv = append(argv, "-i", strings.Join(inode, ","))
	}
	if len(name) > 0 {
		argv = append(argv, "-n", strings.Join(name, ","))
	}
	if size < smallXFS {
		argv = append(argv, "--unsupported")
	}
	return argv
}

func (u *Use) btrfs() []string {
	argv := []string{"mkfs.btrfs", "-q", "-f", "-U", u.UUID}
	if u.Label != "" {
		argv = append(argv, "-L", u.Label)
	}
	if u.Trees.Node > 0 {
		argv = append(argv, "-n", strconv.FormatInt(u.Trees.Node, 10))
	}
	if u.Block > 0 {
		argv = append(argv, "-s", strconv.FormatInt(u.Block, 10))
	}
	if u.Trees.Data != "" {
		argv = append(argv, "-d", u.Trees.Data)
	}
	if u.Trees.Metadata != "" {
		argv = append(argv, "-m", u.Trees.Metadata)
	}
	if len(u.Has) == 0 {
		return argv
	}
	if u.has("mixed_groups") {
		argv = append(argv, "-M")
	}
	no := map[bool]string{false: "^"}
	argv = append(argv, "-O", no[u.has("no_holes")]+"no-holes")
	return append(argv, "-R", no[u.has("free_space_tree")]+"free-space-tree")
}

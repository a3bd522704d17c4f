package allocmap

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// extUsed returns what dumpe2fs says is in use, in bytes.
func extUsed(t testing.TB, image string) int64 {
	out := run(t, "dumpe2fs", "-h", image)
	value := func(name string) int64 {
		m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindStringSubmatch(out)
		require.NotNil(t, m, name)
		n, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		return n
	}
	return (value("Block count") - value("Free blocks")) * value("Block size")
}

// TestExt copies only what the map says of aged filesystems whose free space is full of garbage; e2fsck, every file's content and
// partclone's own map judge.
func TestExt(t *testing.T) {
	needRoot(t)
	need(t, "mke2fs", "e2fsck", "dumpe2fs", "mount")
	for _, c := range []struct {
		name, options string
		size          int64
		partclone     string
	}{
		{"ext2", "-t ext2 -b 1024", 24 * mib, "ext2"},
		{"ext2 first revision", "-t ext2 -r 0 -b 1024", 24 * mib, ""},
		{"ext3", "-t ext3 -b 4096 -g 4096", 96 * mib, "ext3"},
		{"ext4", "-t ext4", 128 * mib, "ext4"},
		{"ext4 1k", "-t ext4 -b 1024", 48 * mib, "ext4"},
		{"ext4 many groups", "-t ext4 -b 1024 -g 1024 -O ^resize_inode", 48 * mib, ""},
		{"ext4 2k", "-t ext4 -b 2048 -O ^flex_bg,^64bit", 48 * mib, ""},
		{"uninit_bg", "-t ext4 -O ^metadata_csum,uninit_bg -b 1024", 48 * mib, ""},
		{"no uninit", "-t ext4 -O ^metadata_csum,^uninit_bg -E lazy_itable_init=0", 48 * mib, ""},
		{"meta_bg", "-t ext4 -O meta_bg,^resize_inode -b 1024 -g 512", 64 * mib, ""},
		{"meta_bg first", "-t ext4 -O meta_bg,^resize_inode,^flex_bg,^metadata_csum -b 4096 -g 1024", 96 * mib, ""},
		{"bigalloc", "-t ext4 -O bigalloc -C 65536", 96 * mib, ""},
		{"bigalloc 1k", "-t ext4 -O bigalloc -b 1024 -C 16384", 48 * mib, ""},
		{"sparse_super2", "-t ext4 -O sparse_super2,^resize_inode -g 2048 -b 1024", 48 * mib, ""},
		{"no sparse_super", "-t ext4 -O ^sparse_super,^resize_inode -g 2048 -b 1024", 48 * mib, ""},
		{"no journal", "-t ext4 -O ^has_journal", 48 * mib, ""},
		{"small descriptors", "-t ext4 -O ^64bit -b 1024 -G 4", 48 * mib, ""},
		{"seed", "-t ext4 -O metadata_csum_seed,orphan_file,large_dir,inline_data", 48 * mib, ""},
		{"mmp", "-t ext4 -O mmp,ea_inode,stable_inodes", 48 * mib, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := garbage(t, c.size)
			if out, err := exec.Command("mke2fs", append(strings.Fields("-q -F -E nodiscard "+c.options), image)...).CombinedOutput(); err != nil {
				t.Skipf("this mke2fs does not make it: %s", out)
			}
			var want map[string]string
			mounted(t, image, "loop", func(dir string) {
				age(t, dir, 150)
				want = hashes(t, dir)
			})
			m := scannedWell(t, image)[0]
			require.Contains(t, m.Volumes[0].Type, "ext")
			near(t, extUsed(t, image), m.Volumes[0].Used, 64*kib)
			if c.partclone != "" {
				need(t, "partclone."+c.partclone)
				require.Empty(t, partclone(t, c.partclone, image).Subtract(m.Extents), "partclone has in use what we have not")
			}
			to := copied(t, image, m)
			run(t, "e2fsck", "-fn", to)
			mounted(t, to, "loop,ro", func(dir string) { require.Equal(t, want, hashes(t, dir)) })
		})
	}
}

// TestExtFrozen maps a filesystem while it is frozen, between writes: the copy is clean without a replay. Before the freeze, its
// journal has what the bitmaps have not.
func TestExtFrozen(t *testing.T) {
	needRoot(t)
	need(t, "mke2fs", "e2fsck", "mount")
	image := garbage(t, 64*mib)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "nodiscard", image)
	mounted(t, image, "loop", func(dir string) {
		for round := range 3 {
			age(t, dir, 60+10*round)
			require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "journal was not replayed")
			frozen(t, dir, func() {
				m := scannedWell(t, image)[0]
				to := copied(t, image, m)
				run(t, "e2fsck", "-fn", to)
				want := hashes(t, dir)
				mounted(t, to, "loop,ro", func(dir string) { require.Equal(t, want, hashes(t, dir)) })
			})
		}
	})
}

// TestExtDoubt has filesystems whose bitmaps cannot be believed.
func TestExtDoubt(t *testing.T) {
	need(t, "mke2fs", "debugfs")
	for _, c := range []struct{ name, options, command, why string }{
		{"journal", "-t ext4", "feature needs_recovery", "journal was not replayed"},
		{"unclean", "-t ext2", "ssv state 0", "not unmounted cleanly"},
		{"errors", "-t ext4", "ssv state 3", "recorded errors"},
		{"incompat", "-t ext4 -O ^metadata_csum", "ssv feature_incompat 0x80000242", "incompat 0x80000000"},
		{"compat", "-t ext4 -O ^metadata_csum", "ssv feature_ro_compat 0x80000000", "read-only compat 0x80000000"},
		{"size", "-t ext4 -O ^metadata_csum", "ssv blocks_count 100000", "the volume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := blank(t, 16*mib)
			run(t, append(append([]string{"mke2fs", "-q", "-F"}, strings.Fields(c.options)...), image)...)
			scannedWell(t, image)
			run(t, "debugfs", "-w", "-R", c.command, image)
			v := scanned(t, image)[0].Volumes[0]
			require.Contains(t, v.Whole, c.why)
			require.EqualValues(t, 16*mib, v.Used)
		})
	}
	t.Run("external journal", func(t *testing.T) {
		image := blank(t, 16*mib)
		run(t, "mke2fs", "-q", "-F", "-O", "journal_dev", image)
		v := scanned(t, image)[0].Volumes[0]
		require.Contains(t, v.Whole, "journal of another")
	})
}

// TestExtDamage changes one bit of a bitmap: the group, and only that, is taken as a whole.
func TestExtDamage(t *testing.T) {
	need(t, "mke2fs", "dumpe2fs")
	for _, options := range []string{"-O metadata_csum", "-O ^metadata_csum,^uninit_bg"} {
		image := blank(t, 256*mib)
		run(t, append([]string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", image}, strings.Fields(options)...)...)
		before := scannedWell(t, image)[0]
		m := regexp.MustCompile(`Block bitmap at (\d+)`).FindStringSubmatch(run(t, "dumpe2fs", image))
		at, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		f, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at*4096)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 1}, at*4096)
		require.NoError(t, err)
		f.Close()
		after := scanned(t, image)[0]
		require.Equal(t, fmt.Sprint([]string{"group 0 is taken as a whole: its bitmap is damaged"}), fmt.Sprint(after.Volumes[0].Notes))
		require.Greater(t, after.Volumes[0].Used, before.Volumes[0].Used+50*mib)
		require.Less(t, after.Volumes[0].Used, int64(200*mib))
	}
}

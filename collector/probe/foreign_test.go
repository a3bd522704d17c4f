package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// tool skips the test when a foreign program is not installed.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("needs %s, which is not installed", n)
		}
	}
}

func run1(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func blank(t *testing.T, size int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	return f.Name()
}

func open(t *testing.T, name string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	return f, size
}

// loop attaches an image to a loop device with the given sector size until the test ends.
func loop(t *testing.T, img string, sector int64) string {
	t.Helper()
	tool(t, "losetup")
	if os.Getuid() != 0 {
		t.Skip("needs root for a loop device")
	}
	dev := strings.TrimSpace(run1(t, "losetup", "--find", "--show", "--sector-size", fmt.Sprint(sector), img))
	t.Cleanup(func() { run1(t, "losetup", "-d", dev) })
	return dev
}

// blkid returns what libblkid says of an image by low-level probing.
func blkid(t *testing.T, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, line := range strings.Split(run1(t, "blkid", "-p", "-o", "export", name), "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			out[k] = strings.NewReplacer(`\ `, " ").Replace(v)
		}
	}
	return out
}

func TestContentLikeBlkid(t *testing.T) {
	tool(t, "blkid")
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		size int64
		args []string
	}{
		{"ext2", 16 * mib, []string{"mkfs.ext2", "-q", "-F", "-L", "two", "IMG"}},
		{"ext3", 16 * mib, []string{"mkfs.ext3", "-q", "-F", "-L", "three", "IMG"}},
		{"ext4", 16 * mib, []string{"mkfs.ext4", "-q", "-F", "-L", "a label", "IMG"}},
		{"ext4-64bit-4k-bigalloc", 64 * mib, []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "64bit,bigalloc,metadata_csum", "IMG"}},
		{"ext4-journal", 16 * mib, []string{"mkfs.ext4", "-q", "-F", "-O", "journal_dev", "IMG"}},
		{"xfs", 320 * mib, []string{"mkfs.xfs", "-q", "-f", "-L", "data", "IMG"}},
		{"xfs-v4", 320 * mib, []string{"mkfs.xfs", "-q", "-f", "-m", "crc=0", "IMG"}},
		{"btrfs", 128 * mib, []string{"mkfs.btrfs", "-q", "-L", "tree", "IMG"}},
		{"btrfs-sha256", 128 * mib, []string{"mkfs.btrfs", "-q", "--csum", "sha256", "-M", "IMG"}},
		{"ntfs", 32 * mib, []string{"mkntfs", "-q", "-F", "-L", "Windows", "IMG"}},
		{"ntfs-64k", 64 * mib, []string{"mkntfs", "-q", "-F", "-c", "65536", "IMG"}},
		{"fat12", 4 * mib, []string{"mkfs.vfat", "-F", "12", "-n", "TWELVE", "IMG"}},
		{"fat16", 32 * mib, []string{"mkfs.vfat", "-F", "16", "IMG"}},
		{"fat32", 64 * mib, []string{"mkfs.vfat", "-F", "32", "-n", "EFI", "IMG"}},
		{"fat32-4k", 320 * mib, []string{"mkfs.vfat", "-F", "32", "-S", "4096", "IMG"}},
		{"exfat", 64 * mib, []string{"mkfs.exfat", "-L", "flash", "IMG"}},
		{"swap", 4 * mib, []string{"mkswap", "-L", "sw", "IMG"}},
		{"swap-64k", 4 * mib, []string{"mkswap", "-p", "65536", "IMG"}},
		{"luks1", 32 * mib, []string{"cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "-d", "KEY", "IMG"}},
		{"luks2", 32 * mib, []string{"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--label", "secret", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "-d", "KEY", "IMG"}},
		{"squashfs", 0, []string{"mksquashfs", "DIR", "IMG", "-quiet", "-noappend"}},
		{"iso", 0, []string{"genisoimage", "-quiet", "-V", "CD", "-o", "IMG", "DIR"}},
		{"f2fs", 64 * mib, []string{"mkfs.f2fs", "-q", "IMG"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tool(t, c.args[0])
			img := blank(t, c.size)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), []byte("not a secret"), 0o600))
			args := append([]string(nil), c.args[1:]...)
			for i := range args {
				args[i] = strings.NewReplacer("IMG", img, "KEY", filepath.Join(dir, "key"), "DIR", dir).Replace(args[i])
			}
			if out, err := exec.Command(c.args[0], args...).CombinedOutput(); err != nil {
				t.Skipf("%s cannot make this image here: %s", c.args[0], out)
			}
			want := blkid(t, img)
			f, size := open(t, img)
			got, err := Content(f, size)
			require.NoError(t, err)
			require.Equal(t, want["TYPE"], got.Type)
			require.Empty(t, got.Problems)
			require.Empty(t, got.Also)
			if c.name == "f2fs" || c.name == "squashfs" {
				return // known by signature only
			}
			require.Equal(t, want["LABEL"], got.Label)
			if c.name != "iso" { // blkid appends hundredths in its own way
				require.Equal(t, want["UUID"], got.UUID)
			}
			if want["BLOCK_SIZE"] != "" && strings.HasPrefix(c.name, "ext") {
				require.Equal(t, want["BLOCK_SIZE"], fmt.Sprint(got.BlockSize))
			}
			if want["UUID_SUB"] != "" {
				require.Equal(t, want["UUID_SUB"], got.Member)
			}
		})
	}
}

// TestUsageLikeTheirTools compares the free space with what each filesystem's own tool counts, on filesystems with content.
func TestUsageLikeTheirTools(t *testing.T) {
	number := func(t *testing.T, s, pattern string) int64 {
		m := regexp.MustCompile(pattern).FindStringSubmatch(s)
		require.NotNil(t, m, "%s in %s", pattern, s)
		n, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		return n
	}
	content := func(t *testing.T, img string) *inventory.Content {
		f, size := open(t, img)
		c, err := Content(f, size)
		require.NoError(t, err)
		return c
	}
	tree := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(tree, "file"), make([]byte, 3<<20), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "data"), []byte(strings.Repeat("ferry", 300_000)), 0o600))

	t.Run("ext4", func(t *testing.T) {
		tool(t, "mkfs.ext4", "dumpe2fs")
		img := blank(t, 64<<20)
		run1(t, "mkfs.ext4", "-q", "-F", "-d", tree, img)
		dump, c := run1(t, "dumpe2fs", "-h", img), content(t, img)
		require.Equal(t, number(t, dump, `Free blocks: +(\d+)`)*c.BlockSize, c.Usage.Free)
		require.Equal(t, number(t, dump, `Block count: +(\d+)`)*c.BlockSize, c.Size)
		require.Equal(t, number(t, dump, `Inode count: +(\d+)`), c.Inodes.Count)
		require.Equal(t, number(t, dump, `Free inodes: +(\d+)`), c.Inodes.Free)
		require.Equal(t, number(t, dump, `Inode size:\s+(\d+)`), c.Inodes.Size)
		want := regexp.MustCompile(`features: +(.*)`).FindStringSubmatch(dump)[1]
		require.ElementsMatch(t, strings.Fields(want), c.Features)
	})
	t.Run("xfs", func(t *testing.T) {
		tool(t, "mkfs.xfs", "xfs_db")
		img := blank(t, 320<<20)
		run1(t, "mkfs.xfs", "-q", "-f", img)
		sb, c := run1(t, "xfs_db", "-r", "-c", "sb 0", "-c", "print", img), content(t, img)
		require.Equal(t, number(t, sb, `fdblocks = (\d+)`)*c.BlockSize, c.Usage.Free)
		require.Equal(t, number(t, sb, `dblocks = (\d+)`)*c.BlockSize, c.Size)
		require.Equal(t, number(t, sb, `icount = (\d+)`), c.Inodes.Count)
		require.Equal(t, number(t, sb, `inodesize = (\d+)`), c.Inodes.Size)
	})
	t.Run("ntfs", func(t *testing.T) {
		tool(t, "mkntfs", "ntfsinfo", "ntfscp")
		img := blank(t, 64<<20)
		run1(t, "mkntfs", "-q", "-F", "-L", "vol", img)
		run1(t, "ntfscp", "-q", img, filepath.Join(tree, "file"), "file")
		info, c := run1(t, "ntfsinfo", "-m", img), content(t, img)
		require.Equal(t, number(t, info, `Free Clusters: (\d+)`)*c.BlockSize, c.Usage.Free)
		require.Equal(t, number(t, info, `Volume Size in Clusters: (\d+)`)*c.BlockSize, c.Usage.Used+c.Usage.Free)
		require.Equal(t, number(t, info, `Cluster Size: (\d+)`), c.BlockSize)
		require.Equal(t, "3.1", c.Version)
	})
	t.Run("fat", func(t *testing.T) {
		tool(t, "mkfs.vfat", "mcopy", "fsck.vfat")
		for _, bits := range []string{"12", "16", "32"} {
			img := blank(t, map[string]int64{"12": 6 << 20, "16": 32 << 20, "32": 64 << 20}[bits])
			run1(t, "mkfs.vfat", "-F", bits, img)
			run1(t, "mcopy", "-i", img, filepath.Join(tree, "file"), "::file")
			fsck, c := run1(t, "fsck.vfat", "-n", img), content(t, img)
			require.Equal(t, number(t, fsck, `, (\d+)/\d+ clusters`)*c.BlockSize, c.Usage.Used, bits)
			require.Equal(t, "FAT"+bits, c.Version)
		}
	})
	t.Run("btrfs", func(t *testing.T) {
		tool(t, "mkfs.btrfs", "btrfs")
		img := blank(t, 128<<20)
		run1(t, "mkfs.btrfs", "-q", "--rootdir", tree, img)
		super, c := run1(t, "btrfs", "inspect-internal", "dump-super", img), content(t, img)
		require.Equal(t, number(t, super, `bytes_used\s+(\d+)`), c.Usage.Used)
		require.Equal(t, number(t, super, `total_bytes\s+(\d+)`), c.Size)
	})
}

// sfdiskTable is the part of `sfdisk -J` that is compared.
type sfdiskTable struct {
	PartitionTable struct {
		Label, ID  string
		Partitions []struct {
			Start, Size      int64
			Type, UUID, Name string
			Bootable         bool
		}
	}
}

func TestTableLikeSfdisk(t *testing.T) {
	tool(t, "sfdisk")
	many := "label: dos\n,8M,E\n" // filled below
	for _, c := range []struct {
		name, script string
		sector       int64
	}{
		{"gpt", "label: gpt\n,1M,21686148-6449-6E6F-744E-656564454649\n,8M,U,*\nsize=4M, name=\"root fs\"\n,,L\n", 512},
		{"gpt-4k", "label: gpt\n,1M,U\n,,L\n", 4096},
		{"gpt-gaps", "label: gpt\nstart=40960,size=2048\nstart=20480,size=2048\n", 512},
		{"mbr", "label: dos\n,4M,83,*\n,4M,82\n,4M,8e\n,,fd\n", 512},
		{"mbr-logical", "label: dos\n,4M,83\n,,E\n,4M\n,4M,82\n,4M\n,,8e\n", 512},
		{"mbr-empty", "label: dos\n", 512},
		{"mbr-extended-only", many + ",2M\n,2M\n", 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := blank(t, 64<<20)
			if c.sector != 512 {
				img = loop(t, img, c.sector) // sfdisk asks the device for its sector size
			}
			cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", img)
			cmd.Stdin = strings.NewReader(c.script)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			var want sfdiskTable
			require.NoError(t, json.Unmarshal([]byte(run1(t, "sfdisk", "-J", img)), &want))
			f, size := open(t, img)
			for _, sector := range []int64{c.sector, 0} { // 0: as of an image, whose sector size nobody knows
				table, parts, err := Table(f, size, sector)
				require.NoError(t, err)
				require.Empty(t, table.Problems)
				require.Equal(t, map[string]inventory.Style{"gpt": "GPT", "dos": "MBR"}[want.PartitionTable.Label], table.Style)
				require.Equal(t, strings.TrimPrefix(strings.ToLower(want.PartitionTable.ID), "0x"), table.ID)
				require.Len(t, parts, len(want.PartitionTable.Partitions))
				for i, w := range want.PartitionTable.Partitions {
					p := parts[i]
					require.Equal(t, w.Start*c.sector, p.Start)
					require.Equal(t, w.Size*c.sector, p.Size)
					require.Equal(t, strings.ToLower(w.Type), map[bool]string{true: strings.TrimLeft(p.Type, "0"), false: p.Type}[table.Style == inventory.StyleMBR])
					require.Equal(t, w.Name, p.Label)
					if table.Style == inventory.StyleMBR {
						require.Equal(t, w.Bootable, p.Bootable)
					} else {
						require.Equal(t, strings.ToLower(w.UUID), p.UUID)
					}
				}
			}
		})
	}
}

// TestDamagedGPT breaks a table the ways disks do, and compares with what sgdisk recovers.
func TestDamagedGPT(t *testing.T) {
	tool(t, "sgdisk")
	make1 := func(t *testing.T) *os.File {
		img := blank(t, 32<<20)
		run1(t, "sgdisk", "-n", "1:2048:+4M", "-t", "1:8300", "-c", "1:data", "-n", "2:0:0", img)
		f, err := os.OpenFile(img, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	zero := func(t *testing.T, f *os.File, off, n int64) {
		_, err := f.WriteAt(make([]byte, n), off)
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		damage  func(*testing.T, *os.File)
		problem string
	}{
		"primary header":  {func(t *testing.T, f *os.File) { zero(t, f, 512, 512) }, "the backup was used"},
		"primary entries": {func(t *testing.T, f *os.File) { zero(t, f, 1024+56, 8) }, "the backup was used"},
		"backup":          {func(t *testing.T, f *os.File) { zero(t, f, 32<<20-512, 512) }, "backup GPT"},
		"grown disk":      {func(t *testing.T, f *os.File) { require.NoError(t, f.Truncate(48<<20)) }, "the disk has grown"},
		"no MBR":          {func(t *testing.T, f *os.File) { zero(t, f, 0, 512) }, "protective MBR is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // sgdisk waits for the disk
			f := make1(t)
			c.damage(t, f)
			st, _ := f.Stat()
			table, parts, err := Table(f, st.Size(), 512)
			require.NoError(t, err)
			require.Len(t, parts, 2)
			require.Equal(t, "data", parts[0].Label)
			require.Contains(t, strings.Join(table.Problems, "\n"), c.problem)
		})
	}
	t.Run("hybrid", func(t *testing.T) {
		t.Parallel()
		f := make1(t)
		run1(t, "sgdisk", "-h", "1", f.Name())
		table, parts, err := Table(f, 32<<20, 512)
		require.NoError(t, err)
		require.True(t, table.Hybrid)
		require.Len(t, parts, 2)
		require.Empty(t, table.Problems)
	})
	t.Run("both gone", func(t *testing.T) {
		t.Parallel()
		f := make1(t)
		zero(t, f, 512, 512)
		zero(t, f, 32<<20-512, 512)
		table, _, err := Table(f, 32<<20, 512)
		require.NoError(t, err)
		require.Contains(t, strings.Join(table.Problems, "\n"), "neither its primary nor its backup")
	})
}

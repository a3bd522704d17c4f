package target

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func appendExtent(frame []byte, name string, off int64, data []byte) []byte {
	var digests []byte
	for part := range bytesChunks(data) {
		sum := chunk.Sum(part)
		digests = append(digests, sum[:]...)
	}
	return append(file.AppendExtent(frame, []byte(name), off, digests, len(data)), data...)
}

func begin(dir, name string, m file.Meta, how file.How) []byte {
	return file.AppendMetaOp(file.AppendDir(nil, []byte(dir)), file.OpBegin, []byte(name), &m, how)
}

func end(dir, name string, m file.Meta) []byte {
	return file.AppendMetaOp(file.AppendDir(nil, []byte(dir)), file.OpEnd, []byte(name), &m, file.HowFresh)
}

// Extents of many files arrive out of order over several streams, more files than descriptors are kept.
func TestExtentsSideBySide(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	const files, chunks = 2 * maxFiles, 5
	m := own(file.KindRegular, 0o400)
	m.Size = chunks*chunk.Size - 100
	name := func(i int) string { return string(rune('a'+i%26)) + string(rune('a'+i/26)) }
	var frames [][]byte
	for i := range files {
		apply(t, tree, begin("big", name(i), m, file.HowFresh))
		data := randomBytes(uint64(i), int(m.Size))
		for c := range chunks {
			part := data[c*chunk.Size : min((c+1)*chunk.Size, len(data))]
			frames = append(frames, appendExtent(file.AppendDir(nil, []byte("big")), name(i), int64(c)*chunk.Size, part))
		}
	}
	rand.New(rand.NewPCG(7, 7)).Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
	var streams sync.WaitGroup
	for s := range 4 {
		streams.Go(func() {
			for i := s; i < len(frames); i += 4 {
				apply(t, tree, frames[i])
			}
		})
	}
	streams.Wait()
	for i := range files {
		apply(t, tree, end("big", name(i), m))
		path := filepath.Join(root, "big", name(i))
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, randomBytes(uint64(i), int(m.Size))) {
			t.Fatalf("%s: %d bytes, %v", path, len(got), err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o400 || st.ModTime().UnixNano() != testTime.Sec*1e9+int64(testTime.Nsec) {
			t.Errorf("%v, %v", st, err)
		}
	}
}

func TestBeginInPlace(t *testing.T) {
	root := lab(t, "ext4")
	tree := openTree(t, root)
	old := randomBytes(1, 4*chunk.Size)
	path := filepath.Join(root, "f")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "chattr", "+i", path)
	m := own(file.KindRegular, 0o644)
	m.Size = 3*chunk.Size + 10
	fresh := randomBytes(2, chunk.Size)
	frame := begin("", "f", m, file.HowInPlace)
	frame = appendExtent(frame, "f", chunk.Size, fresh)
	frame = file.AppendRange(frame, file.OpPunch, []byte("f"), 2*chunk.Size, chunk.Size)
	frame = file.AppendRange(frame, file.OpZero, []byte("f"), 0, 4096)
	var before, after unix.Stat_t
	if err := unix.Stat(path, &before); err != nil {
		t.Fatal(err)
	}
	apply(t, tree, append(frame, end("", "f", m)...))
	want := bytes.Clone(old[:m.Size])
	copy(want[chunk.Size:], fresh)
	clear(want[2*chunk.Size : 3*chunk.Size])
	clear(want[:4096])
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("content differs: %v", err)
	}
	if err := unix.Stat(path, &after); err != nil || after.Ino != before.Ino {
		t.Errorf("another inode: %v", err)
	}
	if maps := sparseMaps(t, root); maps != "\"/f\" 0-131072 196608-196618\n" {
		t.Errorf("sparse map %s", maps)
	}

	r := &recorder{}
	if err := tree.Apply(append(begin("", "missing", m, file.HowInPlace), appendExtent(file.AppendDir(nil, nil), "missing", 0, fresh)...), r); err != nil {
		t.Fatal(err)
	}
	if err := tree.Apply(end("", "missing", m), r); err != nil {
		t.Fatal(err)
	}
	if len(r.needs) != 1 || r.needs[0] != "missing" || len(r.losses) != 0 {
		t.Errorf("needs %q losses %q", r.needs, r.losses)
	}
}

// The copy must leave the old inode alone, for its other names, and keep holes, on filesystems with reflinks and without.
func TestBeginCopy(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			root := lab(t, fs)
			tree := openTree(t, root)
			shell(t, root, `truncate -s 1M old; dd if=/dev/urandom of=old bs=64K seek=3 count=2 conv=notrunc status=none; ln old other; chmod 4755 old; setfattr -n user.gone -v 1 old || true`)
			was, err := os.ReadFile(filepath.Join(root, "other"))
			if err != nil {
				t.Fatal(err)
			}
			m := own(file.KindRegular, 0o640)
			m.Size = 1<<20 - 5
			fresh := randomBytes(3, chunk.Size)
			frame := begin("", "old", m, file.HowCopy)
			frame = appendExtent(frame, "old", 4*chunk.Size, fresh)
			apply(t, tree, append(frame, end("", "old", m)...))
			// Before it is read: XFS shows read pages over what it allocated ahead as data.
			if maps := sparseMaps(t, root); maps != "\"/old\" 196608-327680\n\"/other\" 196608-327680\n" {
				t.Errorf("sparse maps %s", maps)
			}
			want := bytes.Clone(was[:m.Size])
			copy(want[4*chunk.Size:], fresh)
			if got, err := os.ReadFile(filepath.Join(root, "old")); err != nil || !bytes.Equal(got, want) {
				t.Errorf("copy differs: %v", err)
			}
			if got, err := os.ReadFile(filepath.Join(root, "other")); err != nil || !bytes.Equal(got, was) {
				t.Errorf("the other name was changed: %v", err)
			}
			if st, err := os.Stat(filepath.Join(root, "old")); err != nil || st.Mode() != 0o640 {
				t.Errorf("%v, %v", st, err)
			}
		})
	}
}

func TestWrongDigest(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o644)
	m.Size = 3
	bad := append(file.AppendPut(file.AppendDir(nil, nil), []byte("f"), &m, file.HowFresh, chunk.Sum([]byte("abd")), 3), "abc"...)
	if err := tree.Apply(bad, &recorder{}); err == nil {
		t.Error("a wrong digest was taken")
	}
	if _, err := os.Lstat(filepath.Join(root, "f")); err == nil {
		t.Error("the file was made")
	}
	apply(t, tree, begin("", "g", m, file.HowFresh))
	sum := chunk.Sum([]byte("abd"))
	bad = append(file.AppendExtent(file.AppendDir(nil, nil), []byte("g"), 0, sum[:], 3), "abc"...)
	if err := tree.Apply(bad, &recorder{}); err == nil {
		t.Error("a wrong digest was taken")
	}
	if got, err := os.ReadFile(filepath.Join(root, "g")); err != nil || string(got) != "\x00\x00\x00" { // its size comes first, its content not at all
		t.Errorf("%q was written, %v", got, err)
	}
}

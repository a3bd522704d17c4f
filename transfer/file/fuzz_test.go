package file_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

func sampleMeta() file.Meta {
	return file.Meta{Kind: file.KindRegular, Perm: 0o4755, UID: 1, GID: 70000, Size: 5, Mtime: file.Time{Sec: -12, Nsec: 999}, Flags: 0x10,
		Xattrs: file.AppendXattr(nil, "user.a", []byte("b"))}
}

// sampleOps is one operation of each kind.
func sampleOps() []byte {
	m := sampleMeta()
	d := chunk.Sum([]byte("hello"))
	ops := file.AppendDir(nil, []byte("a/b"))
	ops = append(file.AppendPut(ops, []byte("f"), &m, file.HowFresh, d, 5), "hello"...)
	ops = file.AppendMetaOp(ops, file.OpBegin, []byte("g"), &m, file.HowCopy)
	ops = append(file.AppendExtent(ops, []byte("g"), 0, d[:], 5), "hello"...)
	ops = file.AppendRange(ops, file.OpPunch, []byte("g"), 65536, 4096)
	ops = file.AppendMetaOp(ops, file.OpEnd, []byte("g"), &m, file.HowCopy)
	ops = file.AppendSymlink(ops, []byte("s"), &m, []byte("../x"))
	ops = file.AppendLink(ops, []byte("l"), []byte("a/b/f"))
	ops = file.AppendFrom(ops, []byte("m"), &m, []byte("old/place"))
	ops = file.AppendDelete(ops, []byte("d"), file.KindDir)
	ops = file.AppendDirMeta(ops, &m)
	return file.AppendCheck(ops, []byte("f"), &file.Entry{Meta: m, Digest: d}, 0, nil)
}

func TestOperationsSurviveTheirEncoding(t *testing.T) {
	codes := []file.OpCode{file.OpDir, file.OpPut, file.OpBegin, file.OpExtent, file.OpPunch, file.OpEnd, file.OpSymlink, file.OpLink,
		file.OpFrom, file.OpDelete, file.OpDirMeta, file.OpCheck}
	rest := sampleOps()
	want := sampleMeta()
	for _, code := range codes {
		var op file.Op
		var err error
		rest, err = file.DecodeOp(rest, &op)
		require.NoError(t, err)
		require.Equal(t, code, op.Code)
		switch code {
		case file.OpPut, file.OpBegin, file.OpEnd, file.OpFrom, file.OpDirMeta, file.OpSymlink:
			require.Equal(t, want, op.Meta)
		}
	}
	require.Empty(t, rest)
}

func TestNamesThatLeaveTheDirectoryAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", "/"} {
		m := sampleMeta()
		var op file.Op
		_, err := file.DecodeOp(file.AppendMetaOp(nil, file.OpMkdir, []byte(name), &m, 0), &op)
		require.ErrorIs(t, err, file.ErrMalformed, "%q", name)
	}
	for _, path := range []string{"/etc", "a//b", "../x", "a/..", "a/./b", "a/", "a\x00"} {
		var op file.Op
		_, err := file.DecodeOp(file.AppendDir(nil, []byte(path)), &op)
		require.ErrorIs(t, err, file.ErrMalformed, "%q", path)
	}
}

func FuzzDecodeOp(f *testing.F) {
	f.Add(sampleOps())
	f.Fuzz(func(t *testing.T, b []byte) {
		var op file.Op
		for len(b) > 0 {
			rest, err := file.DecodeOp(b, &op)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("nothing was taken")
			}
			if op.Offset < 0 || op.Length < 0 || op.Offset+op.Length < 0 || op.Meta.Size < 0 {
				t.Fatalf("a range that wraps: %+v", op)
			}
			b = rest
		}
	})
}

func FuzzDecodeListing(f *testing.F) {
	e := file.Entry{Meta: sampleMeta(), Path: []byte("a/f")}
	b := file.AppendListEntry(nil, &e, nil)
	f.Add(file.AppendListRun(b, 3, make([]byte, 32)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = file.DecodeListing(b, func(*file.Entry) error { return nil }, func(int64, []byte) error { return nil })
	})
}

func FuzzDecodeEntry(f *testing.F) {
	e := file.Entry{Meta: sampleMeta(), Path: []byte("a/f"), Identity: file.Identity{Ino: 7, Gen: 9, Nlink: 2}, State: file.StatePartial, Resume: 3}
	f.Add(file.AppendEntry(nil, &e, nil), []byte("a/"))
	f.Fuzz(func(t *testing.T, b, prev []byte) {
		var got file.Entry
		rest, path, err := file.DecodeEntry(b, &got, append([]byte{}, prev...))
		if err != nil {
			return
		}
		again := file.AppendEntry(nil, &got, nil)
		var twice file.Entry
		if _, _, err := file.DecodeEntry(again, &twice, nil); err != nil || string(twice.Path) != string(path) || twice.Ino != got.Ino {
			t.Fatalf("an entry that does not survive its encoding: %v", err)
		}
		_ = rest
	})
}

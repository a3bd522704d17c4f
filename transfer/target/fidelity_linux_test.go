package target

import (
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// traps makes everything a filesystem can hold. It runs on each; lines a filesystem lacks are marked.
const traps = `
umask 022
mkdir plain sticky setgid empty acl "flags dir" deep
echo hello > plain/f; chmod 4755 plain/f
echo other > plain/owned; chown 1234:5678 plain/owned; chmod 6711 plain/owned
: > plain/nothing; chmod 0 plain/nothing
chmod 1777 sticky; chgrp 777 setgid; chmod 2775 setgid; echo in > setgid/f; mkdir setgid/sub
echo a > 'plain/new
line'; echo b > $'plain/\xff\xfe'; echo c > 'plain/back\slash'; : > plain/$(printf 'n%.0s' $(seq 255))
ln -s nowhere plain/dangling; ln -s /etc/passwd plain/absolute; chown -h 7:8 plain/dangling
ln -s $(printf 'x%.0s' $(seq 1000)) plain/long
mknod plain/null c 1 3; mknod plain/blk b 7 99; mknod plain/big c 511 200000; mkfifo -m 640 plain/fifo; chown 3:4 plain/fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("plain/sock")'
ln plain/f plain/f2; ln plain/dangling plain/dangling2; ln plain/null sticky/null2; ln plain/fifo empty-fifo
setfattr -n user.a -v 1 plain/f; setfattr -n user.empty plain/f; setfattr -n trusted.t -v 0x00ff plain/f
setfattr -n security.ferry -v x plain/f; setfattr -h -n trusted.link -v y plain/absolute; setfattr -n trusted.fifo -v z plain/fifo
setfattr -n user.big -v 0x$(printf 'ab%.0s' $(seq 2000)) plain/owned; setfattr -n trusted.dir -v d acl
setcap cap_net_raw+ep plain/owned
echo acl > acl/f; setfacl -m u:33:r,g:44:rwx,m::rx acl/f; setfacl -d -m u:55:rw acl; setfacl -m u:66:rx acl
echo made-under-default > acl/inherited; mkdir acl/sub; echo x > acl/cleared; setfacl -b acl/cleared; chmod 600 acl/cleared
truncate -s 16M plain/sparse; printf data | dd of=plain/sparse bs=1 seek=65536 conv=notrunc status=none
dd if=/dev/urandom of=plain/sparse bs=64K seek=100 count=3 conv=notrunc status=none
dd if=/dev/zero of=plain/zeroes bs=64K count=3 status=none
truncate -s 5000 plain/hole
dd if=/dev/urandom of=plain/large bs=100000 count=7 status=none
echo i > plain/immutable; echo a > plain/append; echo d > plain/nodump
touch -d '1960-01-01 01:02:03.123456789' plain/f; touch -a -d '1969-12-31 23:59:59.999999999Z' plain/f
touch -d '2100-01-01 01:02:03.987654321' plain/owned; touch -h -d '2001-01-01' plain/dangling; touch -d @0.000000001 sticky empty
`

// guards are the flags that are set when all else is there.
const guards = `
chattr +i plain/immutable; chattr +a plain/append; chattr +dA plain/nodump; mkdir "flags dir/i"; echo x > "flags dir/i/f"; chattr +i "flags dir/i"; chattr +a "flags dir"
`

const unguard = `chattr -R -f -ia . || true`

var perFS = map[string]string{
	"ext4":  `chattr +S plain/nodump; mkdir D; chattr +DT D`,
	"xfs":   `mkdir p; chattr +P -p 42 p; echo p > p/f; chattr +S plain/nodump`,
	"btrfs": `mkdir C; chattr +C C; echo nocow > C/f; echo cow > plain/cow; mkdir c; chattr +c c; dd if=/dev/zero of=c/f bs=100K count=1 status=none; : > C/cow; chattr -C C/cow; setfattr -n btrfs.compression -v zstd plain/cow`,
	"tmpfs": `:`,
}

func TestFidelity(t *testing.T) {
	for _, name := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(name, func(t *testing.T) {
			source, root := lab(t, name), lab(t, name)
			script := traps + perFS[name] + guards
			if name == "tmpfs" {
				script = strings.ReplaceAll(script, "chattr +S", ": ")
			}
			shell(t, source, script)
			defer shell(t, source, unguard)
			s := send(t, source, file.HowFresh)
			tree := openTree(t, root)
			defer shell(t, root, unguard)
			receive(t, tree, s)
			same(t, source, root)
			if err := tree.Sync(); err != nil {
				t.Error(err)
			}
			apply(t, tree, s.check)

			// Everything again, fresh and in place, over what is there: with a stash, and +i and +a on files and directories.
			for _, how := range []file.How{file.HowFresh, file.HowInPlace} {
				if err := tree.BeginPass(true); err != nil {
					t.Fatal(err)
				}
				s := send(t, source, how)
				receive(t, tree, s)
				apply(t, tree, s.check)
				if err := tree.EndPass(); err != nil {
					t.Fatal(err)
				}
				same(t, source, root)
			}
		})
	}
}

// What a change would drop on the way is there at the end: set-id bits and a capability through a write and a chown, flags of
// a file that only gets another name.
func TestKeptThroughChange(t *testing.T) {
	root := lab(t, "ext4")
	shell(t, root, `echo old > f; chmod 4755 f; setcap cap_net_raw+ep f; echo x > locked; chattr +ia locked; touch leader; chattr +i leader`)
	defer shell(t, root, unguard)
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o6755)
	m.UID, m.GID = 1234, 5678
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	m.Xattrs = file.AppendXattr(nil, "security.capability", capability)
	f := appendPut(file.AppendDir(nil, nil), "f", m, file.HowInPlace, []byte("new"))
	same := m
	same.UID = 4321
	f = file.AppendMetaOp(f, file.OpMeta, []byte("f"), &same, file.HowInPlace)
	locked := own(file.KindRegular, 0o600)
	locked.Flags = file.FlagImmutable | file.FlagNoDump
	f = appendPut(f, "locked", locked, file.HowInPlace, []byte("content"))
	f = file.AppendLink(f, []byte("name"), []byte("leader"))
	locked.Perm = 0o640
	f = file.AppendMetaOp(f, file.OpMeta, []byte("locked"), &locked, file.HowInPlace)
	apply(t, tree, f)
	out := shell(t, root, `stat -c '%a %u %g %s' f locked; getcap f; cat f locked; echo; lsattr f locked leader name | sed 's/e/-/'`)
	if want := "6755 4321 5678 3\n640 0 0 7\nf cap_net_raw=ep\nnewcontent\n" + `---------------------- f
----i-d--------------- locked
----i----------------- leader
----i----------------- name
`; out != want {
		t.Errorf("is\n%swant\n%s", out, want)
	}
}

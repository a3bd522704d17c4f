package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Ports inside a namespace of its own can be fixed.
const (
	ferryPort = 8900
	rsyncPort = 8730
	sshPort   = 2222
	tarPort   = 9000
)

// places are where one contestant works.
type places struct {
	source, target string
	state          string // of Ferry, both sides
}

// contestant makes the job of one run.
type contestant struct {
	name string
	job  func(b *bencher, p places) *job
}

func ferry(name string, args ...string) contestant {
	return contestant{name, func(b *bencher, p places) *job {
		return &job{
			Server: []string{b.ferry, "target", "--into", "dir:" + p.target, "--listen", fmt.Sprint("127.0.0.1:", ferryPort),
				"--state", p.state + "/target", "--json"},
			Port: ferryPort,
			Client: append([]string{b.ferry, "migrate", p.source, "--to", fmt.Sprint("127.0.0.1:", ferryPort), pairArg,
				"--state", p.state + "/source", "--json"}, args...),
		}
	}}
}

// rsyncArgs keep what Ferry keeps: hard links, ACLs, extended attributes, sparse files, owners by number.
func rsyncArgs(args ...string) []string {
	return append([]string{"rsync", "-aHAX", "--numeric-ids", "--delete"}, args...)
}

func rsyncDaemon(name string, args ...string) contestant {
	return contestant{name, func(b *bencher, p places) *job {
		config := filepath.Join(b.dir, "rsyncd.conf")
		text := fmt.Sprintf("use chroot = no\nuid = 0\ngid = 0\n[target]\npath = %s\nread only = no\n", p.target)
		return &job{
			Files:  map[string]string{config: text},
			Server: []string{"rsync", "--daemon", "--no-detach", "--config=" + config, fmt.Sprint("--port=", rsyncPort), "--address=127.0.0.1"},
			Port:   rsyncPort,
			Client: append(rsyncArgs(args...), p.source+"/", fmt.Sprintf("rsync://127.0.0.1:%d/target/", rsyncPort)),
		}
	}}
}

func rsyncSSH(name string, args ...string) contestant {
	return contestant{name, func(b *bencher, p places) *job {
		return &job{
			Server: []string{"/usr/sbin/sshd", "-D", "-e", "-f", b.sshd},
			Port:   sshPort,
			Client: append(rsyncArgs(args...), "-e", b.ssh, p.source+"/", "127.0.0.1:"+p.target+"/"),
		}
	}}
}

// tarSocat is the fastest way without any check and in the clear.
func tarSocat() contestant {
	return contestant{"tar, socat, tar", func(_ *bencher, p places) *job {
		return &job{
			Server:     []string{"sh", "-c", `socat -u TCP-LISTEN:$PORT,reuseaddr STDOUT | tar --xattrs --acls -C "$TARGET" -xpf -`},
			Port:       tarPort,
			Client:     []string{"sh", "-c", `tar --xattrs --acls -S -C "$SOURCE" -cf - . | socat -u STDIN TCP:127.0.0.1:$PORT`},
			ServerEnds: true,
			Env:        []string{fmt.Sprint("PORT=", tarPort), "SOURCE=" + p.source, "TARGET=" + p.target},
		}
	}}
}

// prepareSSH writes the configuration of an sshd with keys of its own, that lets only those in.
func (b *bencher) prepareSSH() error {
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(b.dir, key)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd separates privileges
		return err
	}
	b.sshd = filepath.Join(b.dir, "sshd_config")
	config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nPermitRootLogin yes\n"+
		"UsePAM no\nPasswordAuthentication no\nPidFile none\nLogLevel ERROR\nPrintMotd no\n", sshPort, b.dir, b.dir)
	b.ssh = fmt.Sprintf("ssh -p %d -i %s/user -c aes128-gcm@openssh.com -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR", sshPort, b.dir)
	return os.WriteFile(b.sshd, []byte(config), 0o600)
}

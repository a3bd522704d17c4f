package packages

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/e2e/machine"
	"github.com/ferry-migrate/ferry/packaging"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// dist is where `make packages-test` built the packages, signed with the key beside it in key.pem.
func dist(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FERRY_PACKAGES")
	if dir == "" {
		t.Skip("takes minutes; make packages-test runs it")
	}
	return dir
}

// only returns the one file that a pattern names.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	return found[0]
}

// tool runs a program and returns what it said.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root installs packages")
	}
}

// The version that the packages look for is that of the state.
func TestScriptsKnowTheState(t *testing.T) {
	text, err := os.ReadFile("../../packaging/scripts/preinstall")
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf("\nknown=%d\n", agent.StateVersion))
}

// The same commit makes the same bytes.
func TestReproducible(t *testing.T) {
	dir := dist(t)
	again := filepath.Join(filepath.Dir(dir), "again")
	first, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	require.NoError(t, err)
	second, err := os.ReadFile(filepath.Join(again, "SHA256SUMS"))
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
	for _, end := range []string{"_amd64.deb", "_arm64.deb", ".x86_64.rpm", ".aarch64.rpm", "_x86_64.apk", "_aarch64.apk", "-x86_64.pkg.tar.zst", "-aarch64.pkg.tar.zst",
		"_linux_amd64.tar.gz", "_linux_arm64.tar.gz", "_windows_amd64.zip", "_windows_amd64.msi", "_windows_amd64.cdx.json"} {
		require.Contains(t, string(first), end+"\n")
	}
}

// Another reader checks the signature, and the installed program does.
func TestSigned(t *testing.T) {
	dir := dist(t)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "key.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	public := key.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	pub := filepath.Join(t.TempDir(), "pub.pem")
	require.NoError(t, os.WriteFile(pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	sums := filepath.Join(dir, "SHA256SUMS")
	tool(t, "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", pub, "-rawin", "-in", sums, "-sigfile", sums+".sig")

	deb := only(t, filepath.Join(dir, "*_amd64.deb"))
	require.NoError(t, packaging.Verify(deb, public))
	root := t.TempDir()
	tool(t, "dpkg-deb", "-x", deb, root)
	ferry := filepath.Join(root, "usr/bin/ferry")
	require.Contains(t, tool(t, ferry, "version", "--verify", deb), "as it was released", "the key is in the program")
	require.Contains(t, tool(t, ferry, "version", "--verify", deb, "--key", pub), "as it was released")
	flipped := filepath.Join(root, filepath.Base(deb))
	content, err := os.ReadFile(deb)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(flipped, content, 0o600))
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.sig"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), text, 0o600))
	}
	out, err := exec.CommandContext(t.Context(), ferry, "version", "--verify", flipped).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "FERRY-SIGNATURE")
}

// TestDeb lives the whole life of the Debian package under systemd: installed, configured, registered, restarted and upgraded in the
// middle of a task, kept from a downgrade, killed, removed, purged. guest.sh is that life.
func TestDeb(t *testing.T) {
	dir := dist(t)
	needRoot(t)
	root, err := machine.Root(t.Context())
	require.NoError(t, err)
	packages, out := t.TempDir(), t.TempDir()
	deb := only(t, filepath.Join(dir, "*_amd64.deb"))
	tool(t, "cp", deb, filepath.Join(packages, "first.deb"))
	tool(t, "cp", "guest.sh", "probe.service", packages)
	next := filepath.Join(t.TempDir(), "next")
	tool(t, "dpkg-deb", "-R", deb, next)
	tool(t, "sed", "-i", "s/^Version: .*/Version: 9.9.9/", filepath.Join(next, "DEBIAN/control"))
	tool(t, "dpkg-deb", "-Zgzip", "-z1", "-b", next, filepath.Join(packages, "next.deb"))
	require.NoError(t, os.WriteFile(filepath.Join(packages, "task.json"), task(t), 0o600))

	unit := filepath.Join(packages, "probe.service")
	said := tool(t, "systemd-nspawn", "-q", "-D", root, "--volatile=overlay", "--register=no", "--keep-unit", "--private-network",
		"--bind-ro="+packages+":/packages", "--bind="+out+":/out", "--bind-ro="+unit+":/etc/systemd/system/probe.service", "-b", "systemd.unit=probe.service")
	log, err := os.ReadFile(filepath.Join(out, "log"))
	require.NoError(t, err, said)
	t.Logf("%s", log)
	require.True(t, bytes.HasSuffix(bytes.TrimSpace(log), []byte("== PASSED")))
}

// task is the body of POST /v3/tasks, but for the source and the pairing code.
func task(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(smsapi.CreateTaskRequest{
		Name: "task", Type: smsapi.MigrateFile, OSType: smsapi.Linux, SourceServer: smsapi.SourceServerID{ID: "SOURCE"}, MigrationIP: "127.0.0.1",
		TargetServer: smsapi.NewTargetServer{Name: "target", VMID: "PAIR", VolumeGroups: []smsapi.VolumeGroup{}, Disks: []smsapi.NewTargetDisk{{
			Name: "disk 0", DeviceUse: smsapi.UseNormal, Size: 1 << 30, UsedSize: 1 << 20,
			PhysicalVolumes: []smsapi.NewPhysicalVolume{{Size: 1 << 30, UsedSize: 1 << 20, MountPoint: "/root/source/dir"}},
		}}},
		RegionName: "r", RegionID: "r", ProjectName: "p", ProjectID: "p", Priority: 1, ExistServer: true,
	})
	require.NoError(t, err)
	return text
}

// Packages install where no service manager runs, as in an image that is being built, and leave nothing there.
func TestWithoutServiceManager(t *testing.T) {
	dir := dist(t)
	needRoot(t)
	root, err := machine.Root(t.Context())
	require.NoError(t, err)
	packages := t.TempDir()
	tool(t, "cp", only(t, filepath.Join(dir, "*_amd64.deb")), filepath.Join(packages, "ferry.deb"))
	rpm := only(t, filepath.Join(dir, "*.x86_64.rpm"))
	require.Contains(t, tool(t, "rpm", "-qpl", rpm), "/usr/lib/systemd/system/ferry.service\n")
	require.Equal(t, "/etc/ferry/agent.yaml\n", tool(t, "rpm", "-qpc", rpm))
	for name, script := range map[string]string{
		"deb":         "dpkg -i /packages/ferry.deb && ferry version && test -e /usr/lib/systemd/system/ferry.service && dpkg -P ferry && ! test -e /etc/ferry && ! test -e /usr/bin/ferry",
		"rpm scripts": rpmScripts(t, rpm),
	} {
		t.Run(name, func(t *testing.T) {
			tool(t, "systemd-nspawn", "-q", "-D", root, "--volatile=overlay", "--register=no", "--keep-unit", "--private-network", "--as-pid2",
				"--bind-ro="+packages+":/packages", "/bin/bash", "-ec", script)
		})
	}
}

// rpmScripts is a shell script that runs those of an rpm as rpm would: installed, upgraded, removed; and refused with a newer state.
func rpmScripts(t *testing.T, rpm string) string {
	t.Helper()
	parts := strings.Split(tool(t, "rpm", "-qp", "--qf", "%{PREIN}\x01%{POSTIN}\x01%{PREUN}\x01%{POSTUN}", rpm), "\x01")
	require.Len(t, parts, 4)
	var b strings.Builder
	for i, name := range []string{"pre", "post", "preun", "postun"} {
		fmt.Fprintf(&b, "cat >/tmp/%s <<'END'\n%s\nEND\n", name, parts[i])
	}
	b.WriteString("for s in 'pre 1' 'post 1' 'pre 2' 'post 2' 'preun 1' 'postun 1' 'preun 0' 'postun 0'; do set -- $s; sh /tmp/$1 $2; done\n" +
		"mkdir -p /var/lib/ferry; echo 99 >/var/lib/ferry/version; ! sh /tmp/pre 2\n")
	return b.String()
}

package target

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asChild runs this test again in a process of its own, with prepare run there first, and reports what it reports. It
// returns true in the parent.
func asChild(t *testing.T, attr *syscall.SysProcAttr, prepare func() error) bool {
	t.Helper()
	const env = "FERRY_TEST_CHILD"
	if os.Getenv(env) == t.Name() {
		if err := prepare(); err != nil {
			t.Skip("this kernel cannot: ", err)
		}
		return false
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if attr.Credential != nil { // the test binary lies where only root may look
		exe = copyExecutable(t, exe)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("in a process of its own:\n%s", out)
	}
	return true
}

func copyExecutable(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp("/dev/shm", "ferry-test-*")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// denySyscalls makes the listed system calls fail with ENOSYS in all threads of this process and its children.
func denySyscalls(numbers ...uint32) error {
	const load, jumpEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	program := []unix.SockFilter{{Code: load, K: 0}}
	for _, n := range numbers {
		program = append(program, unix.SockFilter{Code: jumpEqual, Jf: 1, K: n},
			unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	program = append(program, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return e
	}
	return nil
}

// TestOldKernel proves the fallbacks: everything newer than Linux 3.10, and syncfs, answers ENOSYS.
func TestOldKernel(t *testing.T) {
	if asChild(t, &syscall.SysProcAttr{}, func() error {
		return denySyscalls(unix.SYS_STATX, unix.SYS_OPENAT2, unix.SYS_COPY_FILE_RANGE, unix.SYS_SYNCFS, unix.SYS_NAME_TO_HANDLE_AT,
			unix.SYS_RENAMEAT2, unix.SYS_CLOSE_RANGE)
	}) {
		return
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, 0, &st); err != unix.ENOSYS {
		t.Fatal("the filter does not work:", err)
	}
	t.Run("Fidelity", TestFidelity)
	t.Run("Copy", TestBeginCopy)
	t.Run("From", TestFrom)
	t.Run("Mounts", TestMounts)
}

// TestUnprivileged copies a tree as a user who may do little, and checks that all he cannot keep is told, and nothing else.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("FERRY_TEST_CHILD") == "" {
		t.Skip("changing the user needs root")
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	if asChild(t, attr, func() error { return nil }) {
		return
	}
	testUnprivileged(t)
}

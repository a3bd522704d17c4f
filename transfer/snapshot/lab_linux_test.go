package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

const childEnv = "FERRY_TEST_SNAPSHOT" // what an agent that will be killed has to do

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == FreezerCommand {
		n, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = Freezer(n)
		}
		fmt.Fprint(os.Stderr, err)
		os.Exit(0)
	}
	if args := os.Getenv(childEnv); args != "" {
		child(strings.Split(args, "|"))
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // of the processes to start: they would end a second late
	goleak.VerifyTestMain(m)
}

const patience = time.Minute

// notFrozen fails the test if the filesystem is frozen, and thaws it.
func notFrozen(t *testing.T, mnt string) {
	t.Helper()
	require.Equal(t, unix.EINVAL, onMount(t, mnt, fiThaw), "%s was left frozen", mnt)
}

func onMount(t *testing.T, mnt string, request uintptr) unix.Errno {
	t.Helper()
	fd, err := unix.Open(mnt, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	return ioctl(fd, request)
}

// mount gives the test a filesystem that is not left frozen.
func mount(t *testing.T, fs string) string {
	t.Helper()
	mnt := lab.Mount(t, fs, 0)
	t.Cleanup(func() { notFrozen(t, mnt) })
	return mnt
}

// write begins to write a file and returns once the kernel has the writer wait; done is closed when it has written.
func write(t *testing.T, mnt string) (done <-chan struct{}) {
	t.Helper()
	over, thread := make(chan struct{}), make(chan int)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(over)
		thread <- unix.Gettid()
		if err := os.WriteFile(filepath.Join(mnt, "written"), []byte("while frozen"), 0o600); err != nil {
			t.Error(err)
		}
	}()
	stat := fmt.Sprintf("/proc/self/task/%d/stat", <-thread)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(stat)
		_, rest, found := strings.Cut(string(text), ") ")
		return err == nil && found && strings.HasPrefix(rest, "D")
	}, patience, time.Millisecond, "the writer does not wait")
	select {
	case <-over:
		t.Fatal("the writer wrote to a frozen filesystem")
	default:
	}
	return over
}

// await fails the test if c is not closed in time.
func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal(what)
	}
}

package collector

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// storageEvents sends when the kernel announces a block device (uevents over netlink) or the mount table changes (which wakes
// a poll of it). Events that come while one is waiting are one. Where one of the two is not allowed, the other is left.
func storageEvents(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	var fds []unix.PollFd
	if fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT); err == nil {
		if unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}) == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		} else {
			unix.Close(fd)
		}
	}
	if fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLPRI})
	}
	stopRead, stopWrite, err := os.Pipe()
	if err != nil || len(fds) == 0 {
		close(out)
		return out
	}
	fds = append(fds, unix.PollFd{Fd: int32(stopRead.Fd()), Events: unix.POLLIN})
	context.AfterFunc(ctx, func() { stopWrite.Close() }) // wakes the poll
	go func() {
		defer close(out)
		defer stopRead.Close()
		for _, p := range fds[:len(fds)-1] {
			defer unix.Close(int(p.Fd))
		}
		watchPoll(fds, out)
	}()
	return out
}

// watchPoll waits on descriptors until the last of them wakes.
func watchPoll(fds []unix.PollFd, out chan<- struct{}) {
	buf := make([]byte, 64<<10)
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		last := len(fds) - 1
		if fds[last].Revents != 0 {
			return
		}
		woken := false
		for _, p := range fds[:last] {
			if p.Revents == 0 {
				continue
			}
			if p.Events == unix.POLLPRI { // the poll itself takes note of the table's state
				woken = true
				continue
			}
			for {
				n, err := unix.Read(int(p.Fd), buf)
				if n <= 0 || err != nil {
					break
				}
				woken = woken || isBlockEvent(buf[:n])
			}
		}
		if woken {
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}

// isBlockEvent reports whether a uevent, a list of zero-terminated words, is about a block device.
func isBlockEvent(msg []byte) bool {
	const want = "SUBSYSTEM=block\x00"
	for i := 0; i+len(want) <= len(msg); i++ {
		if string(msg[i:i+len(want)]) == want && (i == 0 || msg[i-1] == 0) {
			return true
		}
	}
	return false
}

package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// segments asks the kernel how many segments with data it sent on a connection, and how many of them again. Both are 0 when it does not say, as
// before Linux 4.6.
func segments(conn net.Conn) (sent, again int64) {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return 0, 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = raw.Control(func(fd uintptr) { // a connection that is closed says nothing
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Data_segs_out > 0 {
			sent, again = int64(info.Data_segs_out), int64(info.Total_retrans)
		}
	})
	return sent, again
}

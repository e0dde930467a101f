package counter

import (
	"syscall"
	"unsafe"
)

// epollNow is epoll_wait without waiting, which spares it what Go does around system calls that may wait.
func epollNow(epfd int, events []syscall.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}

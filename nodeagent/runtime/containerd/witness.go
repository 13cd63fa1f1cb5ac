//go:build linux

package containerd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A witness tells how a container's first process has ended when containerd does
// not: a containerd that starts drops what ended without it. It is a file of the
// process, by which Linux since 6.15 gives the exit status also after somebody
// else has reaped it (PIDFD_GET_INFO in linux/pidfd.h); with an older one nothing
// is known.
type witness int

// none is a witness that has seen nothing.
const none witness = 0

// observe opens a witness of a process that lives.
func observe(pid int) witness {
	if pid <= 0 {
		return none
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return none
	}
	return witness(fd)
}

// exit gives a process's end; false if it lives or its end is not known.
func (w witness) exit() (exit, bool) {
	if w == none {
		return exit{}, false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return exit{}, false
	}
	return exitOf(unix.WaitStatus(info.Exit_code)), true
}

// exitOf gives codes as a shell does: 128 and the signal.
func exitOf(s unix.WaitStatus) exit {
	if s.Signaled() {
		return exit{code: 128 + int(s.Signal()), signal: int(s.Signal())}
	}
	return exit{code: s.ExitStatus()}
}

func (w witness) close() {
	if w != none {
		_ = unix.Close(int(w)) // nothing was written
	}
}

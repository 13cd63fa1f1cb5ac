//go:build linux

package containerd

// EndOf begins to observe a process that lives, and gives a way to ask for its
// exit code, and whether that is known.
func EndOf(pid int) func() (int, bool) {
	w := observe(pid)
	return func() (int, bool) {
		e, ok := w.exit()
		return e.code, ok
	}
}

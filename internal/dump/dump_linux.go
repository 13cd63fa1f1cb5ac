package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries bounds how often a list is read. Links of other pods come and go while
// one is read, for moments each.
const tries = 100

// Whole calls list until the kernel says that nothing has changed meanwhile. Its
// error is list's.
func Whole[T any](list func() ([]T, error)) (out []T, err error) {
	for range tries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

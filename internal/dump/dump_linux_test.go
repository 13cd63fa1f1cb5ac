package dump_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/skiffcluster/skiff/internal/dump"
)

func TestWhole(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		errs   []error // of one call after the other, then nil
		want   error
		called int
	}{
		{"a list that nothing disturbs is read once", nil, nil, 1},
		{"one that changes is read again", []error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted}, nil, 3},
		{"another error ends it", []error{broken}, broken, 1},
		{"one that never stops changing is an error", slices.Repeat([]error{netlink.ErrDumpInterrupted}, 200), netlink.ErrDumpInterrupted, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			called := 0
			_, err := dump.Whole(func() ([]int, error) {
				called++
				if called <= len(tt.errs) {
					return nil, tt.errs[called-1]
				}
				return []int{1}, nil
			})
			if !errors.Is(err, tt.want) || called != tt.called {
				t.Errorf("%v after %d calls, want %v after %d", err, called, tt.want, tt.called)
			}
		})
	}
}

// Package roomtest runs a room for a test. It reads and writes nothing of its
// own; start at Run.
package roomtest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Room is what the rooms of skiff have in common.
type Room interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// patience is how long a room may take to start or to stop.
const patience = time.Minute

// Run runs a room until the test ends, or until stop, and returns when the room
// is ready. The test fails if Run returns an error or does not return.
func Run(t testing.TB, room Room) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- room.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%T ended: %v", room, err)
			}
		case <-time.After(patience):
			t.Errorf("%T does not stop within %s", room, patience)
		}
	})
	t.Cleanup(stop)
	select {
	case <-room.Ready():
	case err := <-ended:
		ended <- nil // for stop
		t.Fatalf("%T ended before it was ready: %v", room, err)
	case <-time.After(patience):
		t.Fatalf("%T is not ready within %s", room, patience)
	}
	return stop
}

package etcd

import (
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The store is stopped while watches read the values before events, and while
// others read and write: each gets its answer or an error, and nothing panics.
func TestStopInTheMidstOfReads(t *testing.T) {
	for range 10 {
		s := openIn(t, t.TempDir())
		var group sync.WaitGroup
		busy := make(chan struct{}, 1)
		for i := range 32 {
			key := "k" + strconv.Itoa(i%2)
			group.Go(func() {
				for range s.Client.Watch(t.Context(), key, clientv3.WithPrevKV()) {
					select {
					case busy <- struct{}{}:
					default:
					}
				}
			})
			group.Go(func() {
				for {
					if _, err := s.Client.KV.Get(t.Context(), key); err != nil {
						return
					}
					if _, err := s.Client.KV.Put(t.Context(), key, "v"); err != nil {
						return
					}
				}
			})
		}
		<-busy
		s.Stop()
		group.Wait()
		if _, err := s.Client.KV.Get(t.Context(), "k0"); err == nil {
			t.Error("a stopped store is read")
		}
	}
}

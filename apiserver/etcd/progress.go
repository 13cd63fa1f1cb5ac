package etcd

import "context"

// GetCurrentResourceVersion implements storage.Interface. The watch cache asks
// for it when it has to be as new as etcd, and then waits for a sign of
// progress, which the library requests every tenth of a second: while a cluster
// starts, when somebody always writes, each second reader of a resource would
// wait that long. So the sign is requested here, once for each version.
func (s streamed) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	v, err := s.Interface.GetCurrentResourceVersion(ctx)
	if err == nil && s.requested.Swap(v) != v {
		_ = s.RequestWatchProgress(ctx) // the library asks again
	}
	return v, err
}

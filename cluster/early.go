package cluster

import (
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"
)

// early reaches the API server in this process as a user. Requests that come
// before it is ready wait for it, so that all parts of a cluster can start at
// once.
type early struct {
	cluster *Cluster
	user    *user.DefaultInfo

	once sync.Once
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (e *early) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-e.cluster.serving:
		e.once.Do(func() { e.next = e.cluster.api.RESTConfig(e.user).Transport })
		return e.next.RoundTrip(r)
	default:
	}
	var err error
	select {
	case <-e.cluster.serving:
		return e.RoundTrip(r)
	case <-e.cluster.failed:
		err = e.cluster.Err()
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	if r.Body != nil {
		_ = r.Body.Close() // nothing was read from it
	}
	return nil, err
}

package balancer

import (
	"errors"
	"net"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// again asks once more, and another server if need be, what had no answer since
// the connection was lost, where that changes nothing. Clients of client-go do
// so too, but wait for a second before, which is a third of what an outage may
// take.
type again struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a again) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.next.RoundTrip(r)
	if err != nil && r.Context().Err() == nil && mayRepeat(r) && lostConnection(err) {
		return a.next.RoundTrip(r)
	}
	return answer, err
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper.
func (a again) WrappedRoundTripper() http.RoundTripper { return a.next }

// mayRepeat says that a request reads, and sends nothing that is used up.
func mayRepeat(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
}

// lostConnection says that an answer did not come because the connection ended.
func lostConnection(err error) bool {
	return utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || errors.Is(err, net.ErrClosed)
}

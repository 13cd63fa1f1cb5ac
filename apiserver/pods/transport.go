package pods

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// insecure is a transport to pods and services over the cluster's network.
func insecure(dial func(ctx context.Context, network, address string) (net.Conn, error)) http.RoundTripper {
	return &http.Transport{
		DialContext:     dial,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see Deps.Direct
		// One request each: the targets come and go.
		DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second,
	}
}

package answers

import (
	"fmt"
	"io"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/util/webhook"
	restclient "k8s.io/client-go/rest"
)

const (
	// least is what is read of any answer: a patch of the largest object that a
	// request may hold (3 MiB), in base64, twice.
	least = 8 << 20
	// times is how many times as long as the request an answer may be beyond
	// that. A list is converted by one request, however long it is.
	times = 4
)

// Limit bounds what is read of the answers of the webhooks that r finds. Those
// that are services are reached by dial; nil: as r says.
func Limit(r webhook.AuthenticationInfoResolver, dial utilnet.DialFunc) webhook.AuthenticationInfoResolver {
	limited := func(c *restclient.Config, err error) (*restclient.Config, error) {
		if err != nil {
			return nil, err
		}
		c.Wrap(func(rt http.RoundTripper) http.RoundTripper { return limiter{rt} })
		return c, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(host string) (*restclient.Config, error) { return limited(r.ClientConfigFor(host)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*restclient.Config, error) {
			c, err := limited(r.ClientConfigForService(name, namespace, port))
			if err == nil && dial != nil {
				c.Dial = dial
			}
			return c, err
		},
	}
}

type limiter struct{ http.RoundTripper }

func (l limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		most := least + times*max(0, req.ContentLength)
		res.Body = &bounded{ReadCloser: res.Body, most: most, left: most}
	}
	return res, err
}

// bounded fails when more is read than may be.
type bounded struct {
	io.ReadCloser
	most, left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", b.most)
	}
	return n, err
}

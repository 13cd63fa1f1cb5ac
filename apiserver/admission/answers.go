package admission

import (
	"fmt"
	"io"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/util/webhook"
	restclient "k8s.io/client-go/rest"
)

// maxAnswer is the most bytes that are read of a webhook's answer: a patch of
// the largest object that a request may hold (3 MiB), in base64, twice.
const maxAnswer = 8 << 20

// limitAnswers keeps a webhook from filling the server's memory. Those that are
// services are reached by dial.
func limitAnswers(r webhook.AuthenticationInfoResolver, dial utilnet.DialFunc) webhook.AuthenticationInfoResolver {
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
			if err == nil {
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
		res.Body = &bounded{ReadCloser: res.Body, left: maxAnswer}
	}
	return res, err
}

// bounded fails when more is read than may be.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return n, err
}

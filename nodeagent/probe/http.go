package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// version is the Kubernetes release whose behaviour this is, for User-Agent.
const version = "1.37"

// NewRequest makes the request of a probe or hook. The caller's name goes into
// the User-Agent, "kube-probe/1.37", unless the headers have one.
func NewRequest(a *corev1.HTTPGetAction, c *corev1.Container, podIP, caller string) (*http.Request, error) {
	port, err := ResolvePort(a.Port, c)
	if err != nil {
		return nil, err
	}
	host := a.Host
	if host == "" {
		host = podIP
	}
	scheme := strings.ToLower(string(a.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	// The path may carry a query; what can't be parsed is a path as it stands.
	u, err := url.Parse(a.Path)
	if err != nil {
		u = &url.URL{Path: a.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))

	headers := http.Header{}
	for _, h := range a.HTTPHeaders {
		headers.Add(h.Name, h.Value)
	}
	if _, ok := headers["User-Agent"]; !ok {
		headers.Set("User-Agent", "kube-"+caller+"/"+version)
	}
	switch _, ok := headers["Accept"]; {
	case !ok:
		headers.Set("Accept", "*/*")
	case headers.Get("Accept") == "":
		headers.Del("Accept")
	}
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = headers
	req.Host = headers.Get("Host")
	return req, nil
}

// NewTransport makes connections of their own for each request, to no proxy, and
// does not verify certificates: a probe asks whether something answers.
func NewTransport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as said above
		DisableKeepAlives:  true,
		Proxy:              http.ProxyURL(nil),
		DisableCompression: true,
		DialContext:        newDialer().DialContext,
	}
}

// newDialer makes connections that hold their port for a second only after they
// are closed: many probes would use up the ports of the node.
func newDialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return errors.Join(c.Control(func(fd uintptr) {
			// Best effort: without it the probe works as well.
			_ = setLinger(fd)
		}))
	}}
}

type httpProber struct{ transport *http.Transport }

func newHTTPProber() *httpProber { return &httpProber{transport: NewTransport()} }

// ask sends the request: any status from 200 to 399 is a success. Redirects are
// followed on the same host only.
func (h *httpProber) ask(ctx context.Context, req *http.Request, timeout time.Duration) (result, string, error) {
	client := &http.Client{
		Timeout:   timeout,
		Transport: h.transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
	res, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return failure, err.Error(), nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	if err != nil {
		return failure, "", err
	}
	switch {
	case res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest:
		return failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode), nil
	case res.StatusCode >= http.StatusMultipleChoices:
		return warning, fmt.Sprintf("Probe terminated redirects, Response body: %s", body), nil
	}
	return success, string(body), nil
}

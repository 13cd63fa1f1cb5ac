package pods

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Methods are the HTTP methods that a proxy passes on.
var Methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// Target splits what a proxy request names, "[scheme:]name[:port]".
func Target(id string) (scheme, name, port string, ok bool) {
	parts := strings.Split(id, ":")
	switch len(parts) {
	case 1:
		return "http", parts[0], "", parts[0] != ""
	case 2:
		return "http", parts[0], parts[1], parts[0] != ""
	case 3:
		if parts[0] != "" && parts[0] != "http" && parts[0] != "https" {
			return "", "", "", false
		}
		scheme = parts[0]
		if scheme == "" {
			scheme = "http"
		}
		return scheme, parts[1], parts[2], parts[1] != ""
	}
	return "", "", "", false
}

// Forward passes a request on and the answer back. A GET without a path is sent
// to the same with a slash at its end, so that relative links work.
func Forward(to *url.URL, path string, t http.RoundTripper, responder rest.Responder) http.Handler {
	u := *to
	if path != "" {
		u.Path = "/" + strings.TrimPrefix(path, "/")
	}
	h := utilproxy.NewUpgradeAwareHandler(&u, t, true, false, utilproxy.NewErrorResponder(responder))
	h.MaxBytesPerSec = 0
	return h
}

// proxy passes requests on to a pod's own port.
type proxy struct{ Deps }

func (p *proxy) New() runtime.Object      { return &corev1.PodProxyOptions{} }
func (p *proxy) Destroy()                 {}
func (p *proxy) ConnectMethods() []string { return Methods }

// NewConnectOptions implements rest.Connecter.
func (p *proxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (p *proxy) Connect(ctx context.Context, id string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := Target(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := p.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if pod.Status.PodIP == "" {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no IP address", name))
	}
	to := &url.URL{Scheme: scheme, Host: net.JoinHostPort(pod.Status.PodIP, podPort(pod, scheme, port))}
	return Forward(to, o.(*corev1.PodProxyOptions).Path, p.Direct(), responder), nil
}

// podPort is the number of the port that a request means: its own, a named
// one, or the first that the pod declares.
func podPort(pod *corev1.Pod, scheme, asked string) string {
	for i := range pod.Spec.Containers {
		for _, cp := range pod.Spec.Containers[i].Ports {
			if asked == "" || asked == cp.Name {
				return strconv.Itoa(int(cp.ContainerPort))
			}
		}
	}
	if asked != "" {
		return asked
	}
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// Direct dials pods and services. Their certificates are nobody's that we
// know, as upstream has it: the path between is the cluster's own network.
func (d Deps) Direct() http.RoundTripper { return insecure(d.Dial) }

// nodeProxy passes requests on to a node's agent.
type nodeProxy struct{ Deps }

func (n *nodeProxy) New() runtime.Object      { return &corev1.NodeProxyOptions{} }
func (n *nodeProxy) Destroy()                 {}
func (n *nodeProxy) ConnectMethods() []string { return Methods }

// NewConnectOptions implements rest.Connecter.
func (n *nodeProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.NodeProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (n *nodeProxy) Connect(ctx context.Context, id string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	scheme, name, port, ok := Target(id)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	to, err := n.agent(ctx, name)
	if err != nil {
		return nil, err
	}
	path := o.(*corev1.NodeProxyOptions).Path
	if port != "" && port != to.Port() {
		return Forward(&url.URL{Scheme: scheme, Host: net.JoinHostPort(to.Hostname(), port)}, path, n.Direct(), responder), nil
	}
	return Forward(to, path, n.Agents, responder), nil
}

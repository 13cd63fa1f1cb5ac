package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

var errNotYet = errors.New("not yet written")

// ErrNotFound is returned, wrapped, by a Backend for what does not exist.
var ErrNotFound = errors.New("not found")

// Backend is what the API shows and does.
type Backend interface {
	// Pods are the pods of this node as the agent wants them, with status.
	Pods() []*corev1.Pod
	// RunningPods are the pods that have a running container.
	RunningPods(ctx context.Context) ([]*corev1.Pod, error)
	// Container gives the runtime's ID of a running container.
	Container(ctx context.Context, namespace, pod, container string) (id string, err error)
	// Sandbox gives the runtime's ID of a pod's sandbox.
	Sandbox(ctx context.Context, namespace, pod string) (id string, err error)
	// Logs writes the log of a container, as logs.Read does. Its errors are
	// shown to the user.
	Logs(ctx context.Context, namespace, pod, container string, options *corev1.PodLogOptions, stdout, stderr io.Writer) error
	// Exec, Attach and PortForward are runtime.Runtime's.
	Exec(ctx context.Context, id string, e runtime.Exec) (int, error)
	Attach(ctx context.Context, id string, s runtime.Streams) error
	PortForward(ctx context.Context, sandboxID string, port int32) (io.ReadWriteCloser, error)
	// Summary of what the node, its pods and containers use.
	Summary(ctx context.Context) (*statsv1alpha1.Summary, error)
}

// Config of a [Server].
type Config struct {
	// Address and Port to listen on: all addresses and 10250 by default;
	// -1 takes any free port.
	Address string
	Port    int
	// Certificate gives the certificate to serve with, at each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAs verify client certificates; the API server presents one.
	ClientCAs *x509.CertPool
	// REST asks the API server for TokenReviews and SubjectAccessReviews.
	REST *rest.Config
	// NodeName is the resource name in SubjectAccessReviews.
	NodeName string
	// HealthPort on loopback, plain: 10248 by default; -1 takes any free port.
	HealthPort int
	// Healthy is asked by /healthz; nil is always healthy.
	Healthy func() error
	// Configz is shown by /configz below "kubeletconfig".
	Configz any
	// Backend does the work.
	Backend Backend
}

// Server is the node's API.
type Server struct{ ready chan struct{} }

// New listens, so that ports in use are known at once, and serves in Run.
func New(cfg Config) (*Server, error) { return nil, errNotYet }

// Run serves until ctx ends and all requests have.
func (s *Server) Run(ctx context.Context) error { return errNotYet }

// Ready is closed when requests are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is host:port of the API, HealthAddr of the health server.
func (s *Server) Addr() string       { return "" }
func (s *Server) HealthAddr() string { return "" }

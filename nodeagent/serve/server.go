package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// ErrNotFound is returned, wrapped, by a Backend for what does not exist.
var ErrNotFound = errors.New("not found")

// The kubelet's ports.
const (
	DefaultPort       = 10250
	DefaultHealthPort = 10248
)

// Backend is what the API shows and does.
type Backend interface {
	// Pods are the pods of this node as the agent wants them, with status.
	Pods() []*corev1.Pod
	// Pod is one of them.
	Pod(namespace, name string) (*corev1.Pod, bool)
	// RunningPods are the pods that have a running container.
	RunningPods(ctx context.Context) ([]*corev1.Pod, error)
	// Container gives the runtime's ID of a running container.
	Container(ctx context.Context, pod *corev1.Pod, container string) (id string, err error)
	// Sandbox gives the runtime's ID of a pod's sandbox.
	Sandbox(ctx context.Context, pod *corev1.Pod) (id string, err error)
	// Logs writes the log of a container, as logs.Read does. Its errors are
	// shown to the user; see logs.ContainerID for those of containers that have
	// none.
	Logs(ctx context.Context, pod *corev1.Pod, container string, options *corev1.PodLogOptions, stdout, stderr io.Writer) error
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
	// Listener takes the place of Address and Port.
	Listener net.Listener
	// Certificate gives the certificate to serve with, at each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCA is the PEM bundle that verifies client certificates; the API
	// server presents one. Without it only tokens count.
	ClientCA []byte
	// REST asks the API server for TokenReviews and SubjectAccessReviews.
	REST *rest.Config
	// NodeName is the resource name in SubjectAccessReviews.
	NodeName string
	// HealthPort on loopback, plain: 10248 by default; -1 takes any free port,
	// -2 serves none.
	HealthPort int
	// Healthy is asked by /healthz; nil is always healthy.
	Healthy func() error
	// Configz is shown by /configz below "kubeletconfig".
	Configz any
	// Metrics are what /metrics shows; those of Go and of the process if nil.
	Metrics prometheus.Gatherer
	// SystemLogs is the directory that /logs/ shows; none if empty.
	SystemLogs string
	// Backend does the work.
	Backend Backend
}

// Server is the node's API.
type Server struct {
	cfg    Config
	access *access
	inner  *inner

	listener, health net.Listener

	ready chan struct{}
	// requests counts those that run, also the ones that have taken over their
	// connection, which http.Server does not know of any more. None begins once
	// stopped is set.
	requests sync.WaitGroup
	mu       sync.Mutex
	stopped  bool
}

// New listens, so that ports in use are known at once, and serves in Run.
func New(cfg Config) (*Server, error) {
	if cfg.Backend == nil || cfg.Certificate == nil || cfg.REST == nil {
		return nil, errors.New("serve: Config.Backend, Certificate and REST must be set")
	}
	access, err := newAccess(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Metrics == nil {
		cfg.Metrics = processMetrics()
	}
	s := &Server{cfg: cfg, access: access, ready: make(chan struct{})}
	s.inner = newInner(s.streams())
	if s.listener = cfg.Listener; s.listener == nil {
		if s.listener, err = listen(cfg.Address, portOf(cfg.Port, DefaultPort)); err != nil {
			return nil, fmt.Errorf("listen for the API server: %w", err)
		}
	}
	if cfg.HealthPort == -2 {
		return s, nil
	}
	if s.health, err = listen("127.0.0.1", portOf(cfg.HealthPort, DefaultHealthPort)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for health checks: %w", err), s.listener.Close())
	}
	return s, nil
}

func listen(address string, port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
}

func portOf(port, otherwise int) int {
	switch port {
	case 0:
		return otherwise
	case -1:
		return 0
	}
	return port
}

// Run serves until ctx ends and all requests have.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context := func(net.Listener) context.Context { return ctx }
	api := &http.Server{
		Handler:     s.counted(s.handler()),
		BaseContext: context,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: s.cfg.Certificate,
			// Asked for, and verified by whoever authenticates.
			ClientAuth: tls.RequestClientCert,
		},
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       90 * time.Second,
		ErrorLog:          quiet(),
	}
	health := &http.Server{Handler: s.healthHandler(), BaseContext: context, ReadHeaderTimeout: 10 * time.Second}

	ended := make(chan error, 2)
	var serving sync.WaitGroup
	serving.Go(func() { ended <- ignoreClosed(api.ServeTLS(s.listener, "", "")) })
	if s.health != nil {
		serving.Go(func() { ended <- ignoreClosed(health.Serve(s.health)) })
	}
	serving.Go(func() { s.inner.run(ctx) })
	close(s.ready)

	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	cancel() // ends the streams, so that nobody is waited for
	err = errors.Join(err, ignoreClosed(api.Close()), ignoreClosed(health.Close()))
	serving.Wait()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.requests.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Ready is closed when requests are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is host:port of the API.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// HealthAddr is host:port of the health server, empty if there is none.
func (s *Server) HealthAddr() string {
	if s.health == nil {
		return ""
	}
	return s.health.Addr().String()
}

func (s *Server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.begin() {
			defer s.requests.Done()
			h.ServeHTTP(w, r)
		}
	})
}

// begin counts a request, unless the server has stopped.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.requests.Add(1)
	return true
}

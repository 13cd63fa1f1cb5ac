package serve_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/serve"
)

// backend runs one pod, ns/web with container c, in memory.
type backend struct {
	pod   *corev1.Pod
	ended chan struct{} // closed when a follower of the log has gone
}

func (b *backend) Pods() []*corev1.Pod { return []*corev1.Pod{b.pod} }

func (b *backend) Pod(namespace, name string) (*corev1.Pod, bool) {
	return b.pod, namespace == b.pod.Namespace && name == b.pod.Name
}

func (b *backend) RunningPods(context.Context) ([]*corev1.Pod, error) { return b.Pods(), nil }

func (b *backend) Container(_ context.Context, _ *corev1.Pod, container string) (string, error) {
	if container != "c" {
		return "", fmt.Errorf("container %s: %w", container, serve.ErrNotFound)
	}
	return "id-c", nil
}

func (b *backend) Sandbox(context.Context, *corev1.Pod) (string, error) { return "sandbox", nil }

func (b *backend) Logs(ctx context.Context, _ *corev1.Pod, _ string, o *corev1.PodLogOptions, stdout, _ io.Writer) error {
	if o.Previous {
		return errors.New(`previous terminated container "c" in pod "web" not found`)
	}
	lines := int64(3)
	if o.TailLines != nil {
		lines = *o.TailLines
	}
	for i := range lines {
		fmt.Fprintf(stdout, "line %d\n", i)
	}
	if o.Follow {
		<-ctx.Done()
		close(b.ended)
	}
	return nil
}

func (b *backend) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	if id != "id-c" {
		return 0, fmt.Errorf("exec in %q", id)
	}
	switch e.Command[0] {
	case "cat":
		_, err := io.Copy(e.Stdout, e.Stdin)
		return 0, err
	case "both":
		fmt.Fprint(e.Stdout, "out")
		fmt.Fprint(e.Stderr, "err")
		return 0, nil
	case "exit":
		return strconv.Atoi(e.Command[1])
	case "size":
		if !e.TTY {
			return 1, nil
		}
		size := <-e.Resize
		fmt.Fprintf(e.Stdout, "%dx%d", size.Width, size.Height)
		return 0, nil
	}
	return 0, errors.New("executable file not found")
}

func (b *backend) Attach(_ context.Context, _ string, s runtime.Streams) error {
	_, err := fmt.Fprint(s.Stdout, "attached")
	return err
}

func (b *backend) PortForward(ctx context.Context, sandbox string, port int32) (io.ReadWriteCloser, error) {
	if sandbox != "sandbox" {
		return nil, fmt.Errorf("port of %q", sandbox)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
}

func (b *backend) Summary(context.Context) (*statsv1alpha1.Summary, error) {
	n := uint64(1_500_000_000)
	cpu := &statsv1alpha1.CPUStats{Time: metav1.Now(), UsageCoreNanoSeconds: &n}
	memory := &statsv1alpha1.MemoryStats{Time: metav1.Now(), WorkingSetBytes: &n}
	return &statsv1alpha1.Summary{
		Node: statsv1alpha1.NodeStats{NodeName: "n1", CPU: cpu, Memory: memory, Fs: &statsv1alpha1.FsStats{}},
		Pods: []statsv1alpha1.PodStats{{
			PodRef:     statsv1alpha1.PodReference{Namespace: "ns", Name: "web"},
			CPU:        cpu,
			Containers: []statsv1alpha1.ContainerStats{{Name: "c", CPU: cpu, Memory: memory}},
		}},
	}, nil
}

// ca signs certificates.
type ca struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newCA(t *testing.T) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (c *ca) sign(t *testing.T, subject pkix.Name) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, c.cert, &k.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text})
}

// bench is a server beside an API server.
type bench struct {
	server  *serve.Server
	backend *backend
	cluster *clustertest.Cluster
	// masters is how the API server itself calls.
	masters *rest.Config
	// stranger is known but may do nothing; nobody is not known.
	stranger, nobody *rest.Config
}

func newBench(t *testing.T) *bench {
	t.Helper()
	logs := t.TempDir()
	if err := os.WriteFile(filepath.Join(logs, "kernel.log"), []byte("all is well\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return newBenchWith(t, logs)
}

func newBenchWith(t *testing.T, systemLogs string) *bench {
	t.Helper()
	b := &bench{
		cluster: clustertest.APIServer(t),
		backend: &backend{
			pod: &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u-1"},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}, {Name: "stopped"}}},
			},
			ended: make(chan struct{}),
		},
	}
	authority := newCA(t)
	serving, key := authority.sign(t, pkix.Name{CommonName: "n1"})
	pair, err := tls.X509KeyPair(serving, key)
	if err != nil {
		t.Fatal(err)
	}
	b.server, err = serve.New(serve.Config{
		Address: "127.0.0.1", Port: -1, HealthPort: -1, NodeName: "n1", ClientCA: authority.pem,
		REST: b.cluster.RESTConfig(), Backend: b.backend, SystemLogs: systemLogs, Configz: map[string]string{"kind": "KubeletConfiguration"},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		if conn, err := net.Dial("tcp", b.server.Addr()); err == nil {
			conn.Close()
			t.Error("the port is still open")
		}
	})
	<-b.server.Ready()
	client := func(name string, groups ...string) *rest.Config {
		cert, key := authority.sign(t, pkix.Name{CommonName: name, Organization: groups})
		return &rest.Config{Host: "https://" + b.server.Addr(), TLSClientConfig: rest.TLSClientConfig{CAData: authority.pem, CertData: cert, KeyData: key}}
	}
	b.masters = client("kube-apiserver-kubelet-client", "system:masters")
	b.stranger = client("somebody")
	b.nobody = &rest.Config{Host: b.masters.Host, TLSClientConfig: rest.TLSClientConfig{CAData: authority.pem}}
	return b
}

func (b *bench) call(t *testing.T, c *rest.Config, method, path string) (int, string) {
	t.Helper()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, c.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestRequests(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		name, method, path string
		code               int
		body               string
	}{
		{"health", "GET", "/healthz", 200, "ok"},
		{"pods", "GET", "/pods", 200, `"kind":"PodList","apiVersion":"v1"`},
		{"running pods", "GET", "/runningpods/", 200, `"name":"web"`},
		{"the configuration", "GET", "/configz", 200, `{"kubeletconfig":{"kind":"KubeletConfiguration"}}`},
		{"a log", "GET", "/containerLogs/ns/web/c", 200, "line 0\nline 1\nline 2\n"},
		{"the end of a log", "GET", "/containerLogs/ns/web/c?tailLines=1&timestamps=false", 200, "line 0\n"},
		{"the log of a container that was not", "GET", "/containerLogs/ns/web/c?previous=true", 400, `previous terminated container "c" in pod "web" not found`},
		{"the log of an unknown pod", "GET", "/containerLogs/ns/none/c", 404, `pod "none" does not exist`},
		{"the log of an unknown container", "GET", "/containerLogs/ns/web/none", 404, `container "none" not found in pod "web"`},
		{"a log with a bad option", "GET", "/containerLogs/ns/web/c?tailLines=-1", 400, "tailLines"},
		{"a command", "POST", "/run/ns/web/c?cmd=both", 200, "outerr"},
		{"a command that fails", "POST", "/run/ns/web/c?cmd=exit&cmd=4", 500, "command terminated with exit code 4"},
		{"a command in a container that does not run", "POST", "/run/ns/web/stopped?cmd=both", 500, `container not found ("stopped")`},
		{"exec without streams", "POST", "/exec/ns/web/c?command=cat", 400, "you must specify at least 1 of stdin, stdout, stderr"},
		{"exec in another pod of the name", "POST", "/exec/ns/web/u-2/c?command=cat&output=1", 404, `pod "web" does not exist`},
		{"a summary", "GET", "/stats/summary", 200, `"usageCoreNanoSeconds":1500000000`},
		{"metrics of the process", "GET", "/metrics", 200, "go_goroutines"},
		{"metrics of resources", "GET", "/metrics/resource", 200, `container_cpu_usage_seconds_total{container="c",namespace="ns",pod="web"} 1.5`},
		{"the machine's logs", "GET", "/logs/", 200, `<a href="kernel.log">kernel.log</a>`},
		{"one of the machine's logs", "GET", "/logs/kernel.log", 200, "all is well\n"},
		{"a query of the machine's logs, which needs enableSystemLogQuery", "GET", "/logs/?query=kubelet", 200, "kernel.log"},
		{"a log that the machine has not", "GET", "/logs/none", 404, "404 page not found"},
		{"a file that is no log", "GET", "/logs/../../etc/passwd", 404, "404 page not found"},
		{"an unknown path", "GET", "/nothing", 404, "404 page not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, body := b.call(t, b.masters, tt.method, tt.path)
			if code != tt.code || !strings.Contains(body, tt.body) {
				t.Errorf("%d %q, want %d %q", code, body, tt.code, tt.body)
			}
		})
	}
	_, body := b.call(t, b.masters, "GET", "/stats/summary?only_cpu_and_memory=true")
	var summary statsv1alpha1.Summary
	if err := json.Unmarshal([]byte(body), &summary); err != nil || summary.Node.Fs != nil || summary.Pods[0].Containers[0].Memory == nil {
		t.Errorf("only CPU and memory: %s (%v)", body, err)
	}
	res, err := http.Get("http://" + b.server.HealthAddr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); string(text) != "ok" {
		t.Errorf("plain health says %q", text)
	}
}

func TestHiddenSystemLogs(t *testing.T) {
	b := newBenchWith(t, "")
	if code, body := b.call(t, b.masters, "GET", "/logs/"); code != 405 || body != "logs endpoint is disabled.\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	b := newBench(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}
	if err := b.cluster.Client().Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	if err := b.cluster.Client().SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	bearer := rest.CopyConfig(b.nobody)
	bearer.BearerToken = request.Status.Token
	wrong := rest.CopyConfig(b.nobody)
	wrong.BearerToken = "wrong"

	tests := []struct {
		name   string
		caller *rest.Config
		path   string
		code   int
		body   string
	}{
		{"the API server", b.masters, "/pods", 200, "PodList"},
		{"no certificate and no token", b.nobody, "/healthz", 401, "Unauthorized"},
		{"a wrong token", wrong, "/pods", 401, "Unauthorized"},
		{"somebody without rights", b.stranger, "/containerLogs/ns/web/c", 403, "Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[proxy])"},
		{"a service account without rights", bearer, "/stats/summary", 403, "Forbidden (user=system:serviceaccount:default:robot, verb=get, resource=nodes, subresource(s)=[stats])"},
		{"the machine's logs without the right to them", b.stranger, "/logs/", 403, "Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[log])"},
		{"finer subresources are named first", b.stranger, "/pods", 403, "subresource(s)=[pods proxy]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, body := b.call(t, tt.caller, "GET", tt.path)
			if code != tt.code || !strings.Contains(body, tt.body) {
				t.Errorf("%d %q, want %d %q", code, body, tt.code, tt.body)
			}
		})
	}
}

func TestAFollowedLogComesAtOnceAndEndsWithItsReader(t *testing.T) {
	b := newBench(t)
	client, err := rest.HTTPClientFor(b.masters)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", b.masters.Host+"/containerLogs/ns/web/c?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text := make([]byte, len("line 0\nline 1\nline 2\n"))
	if _, err := io.ReadFull(res.Body, text); err != nil || !strings.HasSuffix(string(text), "line 2\n") {
		t.Errorf("%q (%v)", text, err)
	}
	cancel()
	select {
	case <-b.backend.ended:
	case <-time.After(20 * time.Second):
		t.Error("the backend still follows")
	}
}

type sizes struct{ left []remotecommand.TerminalSize }

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(s.left) == 0 {
		return nil
	}
	size := s.left[0]
	s.left = s.left[1:]
	return &size
}

func TestExecAndAttach(t *testing.T) {
	b := newBench(t)
	executors := map[string]func(*url.URL) (remotecommand.Executor, error){
		"SPDY": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(b.masters, "POST", u)
		},
		"WebSocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(b.masters, "GET", u.String())
		},
	}
	for protocol, open := range executors {
		run := func(t *testing.T, path, query string, o remotecommand.StreamOptions) (string, string, error) {
			t.Helper()
			u := &url.URL{Scheme: "https", Host: b.server.Addr(), Path: path, RawQuery: query}
			e, err := open(u)
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			o.Stdout = &stdout
			if !o.Tty {
				o.Stderr = &stderr
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = e.StreamWithContext(ctx, o)
			return stdout.String(), stderr.String(), err
		}
		t.Run(protocol, func(t *testing.T) {
			big := strings.Repeat("0123456789abcdef", 20000)
			if out, _, err := run(t, "/exec/ns/web/c", "command=cat&input=1&output=1&error=1", remotecommand.StreamOptions{Stdin: strings.NewReader(big)}); err != nil || out != big {
				t.Errorf("cat: %d bytes of %d (%v)", len(out), len(big), err)
			}
			if out, errOut, err := run(t, "/exec/ns/web/u-1/c", "command=both&output=1&error=1", remotecommand.StreamOptions{}); err != nil || out != "out" || errOut != "err" {
				t.Errorf("both: %q, %q (%v)", out, errOut, err)
			}
			_, _, err := run(t, "/exec/ns/web/c", "command=exit&command=42&output=1&error=1", remotecommand.StreamOptions{})
			var code utilexec.CodeExitError
			if !errors.As(err, &code) || code.Code != 42 || err.Error() != "command terminated with exit code 42" {
				t.Errorf("exit: %v", err)
			}
			_, _, err = run(t, "/exec/ns/web/c", "command=nope&output=1&error=1", remotecommand.StreamOptions{})
			if err == nil || !strings.Contains(err.Error(), "executable file not found") {
				t.Errorf("unknown command: %v", err)
			}
			size := &sizes{left: []remotecommand.TerminalSize{{Width: 132, Height: 43}}}
			if out, _, err := run(t, "/exec/ns/web/c", "command=size&output=1&tty=1", remotecommand.StreamOptions{Tty: true, TerminalSizeQueue: size}); err != nil || out != "132x43" {
				t.Errorf("size: %q (%v)", out, err)
			}
			if out, _, err := run(t, "/attach/ns/web/c", "output=1&error=1", remotecommand.StreamOptions{}); err != nil || out != "attached" {
				t.Errorf("attach: %q (%v)", out, err)
			}
			_, _, err = run(t, "/exec/ns/web/stopped", "command=cat&output=1&error=1", remotecommand.StreamOptions{})
			if err == nil {
				t.Error("exec in a container that does not run succeeds")
			}
		})
	}
}

func TestPortForward(t *testing.T) {
	b := newBench(t)
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// Only after the client has closed its side, to see that half is.
				text, _ := io.ReadAll(conn)
				conn.Write(append([]byte("you said "), text...))
			}()
		}
	}()
	u := &url.URL{Scheme: "https", Host: b.server.Addr(), Path: "/portForward/ns/web"}
	dialers := map[string]func() (httpstream.Dialer, error){
		"SPDY": func() (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(b.masters)
			return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u), err
		},
		"WebSocket": func() (httpstream.Dialer, error) { return portforward.NewSPDYOverWebsocketDialer(u, b.masters) },
	}
	for protocol, open := range dialers {
		t.Run(protocol, func(t *testing.T) {
			dialer, err := open()
			if err != nil {
				t.Fatal(err)
			}
			stop, ready := make(chan struct{}), make(chan struct{})
			remote := echo.Addr().(*net.TCPAddr).Port
			f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", remote)}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- f.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
				if err != nil {
					t.Fatal(err)
				}
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				fmt.Fprintf(conn, "hello %d", i)
				conn.(*net.TCPConn).CloseWrite()
				if text, err := io.ReadAll(conn); err != nil || string(text) != fmt.Sprintf("you said hello %d", i) {
					t.Errorf("%q (%v)", text, err)
				}
				conn.Close()
			}
			close(stop)
			if err := <-done; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

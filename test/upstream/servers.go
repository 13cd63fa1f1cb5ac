package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiffcluster/skiff/test/bench/load"
)

// Running is a control plane: processes with a directory of their own.
type Running struct {
	// Ready is the time from its API server's start to the first good answer
	// of /readyz.
	Ready time.Duration
	// REST is an administrator's access, in protobuf and without limits.
	REST *restclient.Config

	dir   string
	procs []*exec.Cmd
	out   bytes.Buffer // what they say, for errors
}

// Options are what is asked of a control plane.
type Options struct {
	// APIServerOnly leaves out controllers and scheduler.
	APIServerOnly bool
	// Skiff is the program to start; empty: bin/skiff.
	Skiff string
	// RuntimeConfig is --runtime-config of the API server, when not empty.
	RuntimeConfig string
	// FeatureGates is --feature-gates of kube-apiserver, when not empty.
	FeatureGates string
}

func newRunning() (*Running, error) {
	dir, err := os.MkdirTemp("", "skiff-upstream-")
	return &Running{dir: dir}, err
}

func (r *Running) exec(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &r.out, &r.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.procs = append(r.procs, cmd)
	return nil
}

// Said is the end of what the processes have written.
func (r *Running) Said() string {
	const most = 2000
	all := r.out.Bytes()
	return string(all[max(0, len(all)-most):])
}

// Stop ends the processes and removes their data.
func (r *Running) Stop() {
	for i := len(r.procs) - 1; i >= 0; i-- {
		_ = r.procs[i].Process.Signal(syscall.SIGTERM)
		_ = r.procs[i].Wait()
	}
	_ = os.RemoveAll(r.dir)
}

// StartSkiff runs `skiff server`.
func StartSkiff(ctx context.Context, o Options) (*Running, error) {
	r, err := newRunning()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{"server", "--data-dir", filepath.Join(r.dir, "data"), "--bind-address", "127.0.0.1", "--secure-port", port, "--service-cluster-ip-range", serviceRange}
	if o.APIServerOnly {
		args = append(args, "--without", "controllers,scheduler")
	}
	begin := time.Now()
	if err := r.exec(cmp.Or(o.Skiff, "bin/skiff"), append(args, o.runtimeConfig()...)...); err != nil {
		r.Stop()
		return nil, err
	}
	return r, r.waitReady(ctx, begin, func() (*restclient.Config, error) {
		return clientcmd.BuildConfigFromFlags("", filepath.Join(r.dir, "data", "admin.conf"))
	})
}

// Start runs etcd, kube-apiserver and then the two that work through it, with
// the flags that each cannot do without. The time is that of kube-apiserver,
// whose etcd is ready already.
func Start(ctx context.Context, o Options) (*Running, error) {
	r, err := newRunning()
	if err != nil {
		return nil, err
	}
	if err := r.upstream(ctx, o); err != nil {
		r.Stop()
		return nil, fmt.Errorf("%w: %s", err, r.out.String())
	}
	return r, nil
}

func (r *Running) upstream(ctx context.Context, o Options) error {
	var ports [5]string
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	store, server := "http://127.0.0.1:"+ports[0], "https://127.0.0.1:"+ports[2]
	keys, err := writeKeys(r.dir, server)
	if err != nil {
		return err
	}
	peer := "http://127.0.0.1:" + ports[1]
	if err := r.exec("bin/upstream/etcd", "--data-dir", filepath.Join(r.dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer); err != nil {
		return err
	}
	if err := answers(ctx, "127.0.0.1:"+ports[0]); err != nil {
		return err
	}
	begin := time.Now()
	args := []string{"--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", ports[2], "--cert-dir", r.dir,
		"--client-ca-file", keys.ca, "--tls-cert-file", keys.cert, "--tls-private-key-file", keys.key, "--authorization-mode", "Node,RBAC",
		"--service-account-issuer", issuer, "--service-account-key-file", keys.account, "--service-account-signing-key-file", keys.account,
		"--service-cluster-ip-range", serviceRange, "--allow-privileged"}
	if o.FeatureGates != "" {
		args = append(args, "--feature-gates", o.FeatureGates)
	}
	if err := r.exec("bin/upstream/kube-apiserver", append(args, o.runtimeConfig()...)...); err != nil {
		return err
	}
	if err := r.waitReady(ctx, begin, func() (*restclient.Config, error) { return clientcmd.BuildConfigFromFlags("", keys.kubeconfig) }); err != nil {
		return err
	}
	if o.APIServerOnly {
		return nil
	}
	return errors.Join(
		r.exec("bin/upstream/kube-controller-manager", "--kubeconfig", keys.kubeconfig, "--secure-port", ports[3], "--cert-dir", r.dir,
			"--service-account-private-key-file", keys.account, "--root-ca-file", keys.ca, "--use-service-account-credentials"),
		r.exec("bin/upstream/kube-scheduler", "--kubeconfig", keys.kubeconfig, "--secure-port", ports[4], "--cert-dir", r.dir),
	)
}

// waitReady takes the time from begin to the first good answer of /readyz.
func (r *Running) waitReady(ctx context.Context, begin time.Time, access func() (*restclient.Config, error)) error {
	var last error
	for ; time.Since(begin) < 3*time.Minute; time.Sleep(time.Millisecond) {
		cfg, err := access()
		if err != nil {
			last = err
			continue
		}
		cfg.QPS = -1
		cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
		k, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return err
		}
		if _, last = k.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); last == nil {
			r.Ready, r.REST = time.Since(begin), cfg
			return nil
		}
	}
	return fmt.Errorf("not ready within three minutes: %w", last)
}

// Memory of all processes, in kB.
func (r *Running) Memory() (resident, anonymous int, err error) {
	for _, p := range r.procs {
		status, err := load.ProcessStatus(p.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		resident += status["VmRSS"]
		anonymous += status["RssAnon"]
	}
	return resident, anonymous, nil
}

// CPU is the processor time that all processes have used.
func (r *Running) CPU() time.Duration {
	var sum time.Duration
	for _, p := range r.procs {
		used, err := load.ProcessCPU(p.Process.Pid)
		if err != nil {
			return 0 // it has ended, which requests to it tell
		}
		sum += used
	}
	return sum
}

// serviceRange is given to both, whose defaults differ.
const serviceRange = "10.96.0.0/16"

// issuer is skiff's by default.
const issuer = "https://kubernetes.default.svc.cluster.local"

func (o Options) runtimeConfig() []string {
	if o.RuntimeConfig == "" {
		return nil
	}
	return []string{"--runtime-config", o.RuntimeConfig}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

func answers(ctx context.Context, address string) error {
	var dialer net.Dialer
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		if time.Since(begin) > 30*time.Second {
			return err
		}
	}
}

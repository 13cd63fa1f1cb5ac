// Package testing starts `skiff server` where Kubernetes' integration tests
// start kube-apiserver: hack/integration.sh puts it in the place of theirs.
//
// Reads a test's flags and options. Start at StartTestServer.
package testing

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storageversion"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/test/utils/ktesting"

	"github.com/skiffcluster/skiff/hack/tools/integration/kube"
	"github.com/skiffcluster/skiff/hack/tools/integration/server"
)

// TearDownFunc ends a server.
type TearDownFunc func()

// TestServerInstanceOptions are what a test may ask of its server, as
// Kubernetes' own of this name.
type TestServerInstanceOptions struct {
	SkipHealthzCheck       bool
	DisableInvariantChecks bool
	EnableCertAuth         bool
	StorageVersionWrapFunc func(storageversion.Manager) storageversion.Manager
	ProxyCA                *ProxyCA
	BinaryVersion          string
	RequestTimeout         time.Duration
}

// TestServer is a server that runs.
type TestServer struct {
	ClientConfig      *restclient.Config
	ServerOpts        *options.ServerRunOptions
	TearDownFn        TearDownFunc
	TmpDir            string
	EtcdClient        *clientv3.Client
	EtcdStoragePrefix string
}

// Logger is what some tests pass.
type Logger interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}

// ProxyCA signs front proxies' certificates.
type ProxyCA struct {
	ProxySigningCert *x509.Certificate
	ProxySigningKey  *rsa.PrivateKey
}

// NewDefaultTestServerOptions are those of most tests.
func NewDefaultTestServerOptions() *TestServerInstanceOptions {
	return &TestServerInstanceOptions{EnableCertAuth: true}
}

// StartTestServer starts a server with kube-apiserver's flags over storage.
func StartTestServer(t ktesting.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) (TestServer, error) {
	if instance == nil {
		instance = NewDefaultTestServerOptions()
	}
	if instance.StorageVersionWrapFunc != nil || instance.BinaryVersion != "" {
		t.Skipf("skiff: the test reaches into the server's process")
	}
	dir, err := os.MkdirTemp("", "skiff-integration-")
	if err != nil {
		return TestServer{}, err
	}
	result := TestServer{TmpDir: dir, EtcdStoragePrefix: storage.Prefix}
	started, err := result.start(t, instance, flags, storage)
	if err != nil {
		_ = os.RemoveAll(dir)
		return TestServer{}, err
	}
	result.ClientConfig = restclient.CopyConfig(started.Config)
	result.TearDownFn = func() {
		kube.Stop(context.Background(), t, started, !instance.DisableInvariantChecks)
		_ = result.EtcdClient.Close()
		_ = os.RemoveAll(dir)
	}
	return result, nil
}

func (r *TestServer) start(t ktesting.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) (*server.Server, error) {
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	version := compatibility.DefaultKubeEffectiveVersionForTest()
	version.SetEmulationVersion(gates.EmulationVersion())
	version.SetMinCompatibilityVersion(gates.MinCompatibilityVersion())
	registry := basecompatibility.NewComponentGlobalsRegistry()
	if err := registry.Register(basecompatibility.DefaultKubeComponent, version, gates); err != nil {
		return nil, err
	}
	o := options.NewServerRunOptions()
	o.Options.GenericServerRunOptions.ComponentGlobalsRegistry = registry
	if instance.RequestTimeout > 0 {
		o.GenericServerRunOptions.RequestTimeout = instance.RequestTimeout
	}
	o.SecureServing.ServerCert.CertDirectory = r.TmpDir
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, f := range o.Flags().FlagSets {
		fs.AddFlagSet(f)
	}
	o.ServiceClusterIPRanges = "10.0.0.0/16"
	o.Etcd.StorageConfig = *storage
	if instance.EnableCertAuth {
		if err := kube.ClientCA(r.TmpDir, o); err != nil {
			return nil, err
		}
	}
	if err := fs.Parse(flags); err != nil {
		return nil, err
	}
	if err := registry.Set(); err != nil {
		return nil, err
	}
	if instance.EnableCertAuth {
		if err := r.frontProxy(o, instance.ProxyCA); err != nil {
			return nil, err
		}
	}
	r.ServerOpts = o
	started, err := kube.Start(t, o, gates)
	if err != nil {
		return nil, err
	}
	if r.EtcdClient, _, err = GetEtcdClients(storage.Transport); err != nil {
		return nil, errors.Join(fmt.Errorf("etcd: %w", err), started.Stop())
	}
	return started, nil
}

// frontProxy keeps the headers that a test's flags name.
func (r *TestServer) frontProxy(o *options.ServerRunOptions, given *ProxyCA) error {
	flags := *o.Authentication.RequestHeader
	var ca *server.CA
	if given != nil {
		ca = &server.CA{Cert: given.ProxySigningCert, Key: given.ProxySigningKey}
	}
	if err := kube.FrontProxy(r.TmpDir, o, ca); err != nil {
		return err
	}
	h := o.Authentication.RequestHeader
	for _, x := range []struct{ from, to *[]string }{
		{&flags.UsernameHeaders, &h.UsernameHeaders}, {&flags.UIDHeaders, &h.UIDHeaders},
		{&flags.GroupHeaders, &h.GroupHeaders}, {&flags.ExtraHeaderPrefixes, &h.ExtraHeaderPrefixes},
	} {
		if len(*x.from) > 0 {
			*x.to = *x.from
		}
	}
	return nil
}

// GetEtcdClients gives clients of the etcd that config names.
func GetEtcdClients(config storagebackend.TransportConfig) (*clientv3.Client, clientv3.KV, error) {
	var secure *tls.Config
	if config.CertFile != "" || config.KeyFile != "" || config.TrustedCAFile != "" {
		var err error
		secure, err = transport.TLSInfo{CertFile: config.CertFile, KeyFile: config.KeyFile, TrustedCAFile: config.TrustedCAFile}.ClientConfig()
		if err != nil {
			return nil, nil, err
		}
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: config.ServerList, DialTimeout: 20 * time.Second, TLS: secure})
	if err != nil {
		return nil, nil, err
	}
	return c, clientv3.NewKV(c), nil
}

// StartTestServerOrDie is StartTestServer for tests that need it to succeed.
func StartTestServerOrDie(t testing.TB, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) *TestServer {
	t.Helper()
	result, err := StartTestServer(t, instance, flags, storage)
	if err != nil {
		t.Fatalf("start a server: %v", err)
	}
	return &result
}

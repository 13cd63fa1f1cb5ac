// Package testing starts `skiff server` where the integration tests of
// k8s.io/apiextensions-apiserver start that server alone:
// hack/integration.sh puts it in the place of theirs.
//
// Reads a test's flags. Start at StartTestServer.
package testing

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"
	extensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"

	"github.com/skiffcluster/skiff/hack/tools/integration/server"
)

// TearDownFunc ends a server.
type TearDownFunc func()

// TestServerInstanceOptions are none.
type TestServerInstanceOptions struct{}

// TestServer is a server that runs.
type TestServer struct {
	ClientConfig    *restclient.Config
	ServerOpts      *options.CustomResourceDefinitionsServerOptions
	TearDownFn      TearDownFunc
	TmpDir          string
	CompletedConfig extensionsapiserver.CompletedConfig
}

// Logger is what the tests pass.
type Logger interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// NewDefaultTestServerOptions are those of all tests.
func NewDefaultTestServerOptions() *TestServerInstanceOptions { return &TestServerInstanceOptions{} }

// StartTestServer starts a server with apiextensions-apiserver's flags.
func StartTestServer(t Logger, _ *TestServerInstanceOptions, custom []string, storage *storagebackend.Config) (TestServer, error) {
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	newOptions := func() (*options.CustomResourceDefinitionsServerOptions, *pflag.FlagSet, error) {
		version := compatibility.DefaultKubeEffectiveVersionForTest()
		version.SetEmulationVersion(gates.EmulationVersion())
		registry := basecompatibility.NewComponentGlobalsRegistry()
		if err := registry.Register(basecompatibility.DefaultKubeComponent, version, gates); err != nil {
			return nil, nil, err
		}
		o := options.NewCustomResourceDefinitionsServerOptions(os.Stdout, os.Stderr)
		o.ServerRunOptions.ComponentGlobalsRegistry = registry
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		o.AddFlags(fs)
		return o, fs, nil
	}
	_, defaults, err := newOptions()
	if err != nil {
		return TestServer{}, err
	}
	o, fs, err := newOptions()
	if err != nil {
		return TestServer{}, err
	}
	if storage != nil {
		o.RecommendedOptions.Etcd.StorageConfig = *storage
	}
	if err := o.APIEnablement.RuntimeConfig.Set("api/all=true"); err != nil {
		return TestServer{}, err
	}
	if err := fs.Parse(custom); err != nil {
		return TestServer{}, err
	}
	features, why := server.Gates(gates, "1.37")
	if why != "" {
		skip(t, "skiff: "+why)
	}
	flags, missing, err := server.Flags(defaults, fs)
	if err != nil {
		return TestServer{}, err
	}
	if len(missing) > 0 {
		skip(t, "skiff has no flag "+strings.Join(missing, " "))
	}
	// That server asks a kube-apiserver who may do what; here is none.
	s, err := server.Start(append(append(flags, features...), "--authorization-mode=AlwaysAllow"), "")
	if server.Unknown(err) {
		skip(t, "skiff: "+strings.Join(features, " "))
	}
	if err != nil {
		return TestServer{}, fmt.Errorf("skiff: %w", err)
	}
	result := TestServer{ClientConfig: restclient.CopyConfig(s.Config), ServerOpts: o, TmpDir: s.Dir}
	result.ServerOpts.RecommendedOptions.SecureServing.ServerCert.CertDirectory = s.Dir
	result.TearDownFn = func() {
		if f, ok := t.(interface{ Failed() bool }); ok && f.Failed() {
			t.Logf("the server's log: %s", s.Log())
		}
		if err := s.Stop(); err != nil {
			t.Errorf("%v", err)
		}
	}
	config, err := unused(o)
	if err != nil {
		result.TearDownFn()
		return TestServer{}, err
	}
	result.CompletedConfig = config.Complete()
	return result, nil
}

// unused is the configuration of a server that is never started: tests take the
// store's options from it.
func unused(o *options.CustomResourceDefinitionsServerOptions) (*extensionsapiserver.Config, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	s := o.RecommendedOptions.SecureServing
	s.Listener, s.BindPort = l, l.Addr().(*net.TCPAddr).Port
	return o.Config()
}

func skip(t Logger, why string) {
	if s, ok := t.(interface{ Skip(args ...any) }); ok {
		s.Skip(why)
	}
	t.Fatalf("%s", why)
}

// StartTestServerOrDie is StartTestServer for tests that need it to succeed.
func StartTestServerOrDie(t Logger, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) *TestServer {
	result, err := StartTestServer(t, instance, flags, storage)
	if err != nil {
		t.Fatalf("start a server: %v", err)
	}
	return &result
}

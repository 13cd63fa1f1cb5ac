package kube

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/featuregate"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/test/e2e/invariants/metrics"

	"github.com/skiffcluster/skiff/hack/tools/integration/server"
)

// TB is what Start needs of a test.
type TB interface {
	Helper()
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Binary is the version of Kubernetes that the tests are of.
const Binary = "1.37"

// Start starts a server with o, which it fills in with the port and the
// certificate. It skips a test that wants what skiff has no switch for.
func Start(t TB, o *kubeoptions.ServerRunOptions, gates featuregate.MutableVersionedFeatureGate) (*server.Server, error) {
	t.Helper()
	var features []string
	for _, g := range []featuregate.MutableVersionedFeatureGate{gates, utilfeature.DefaultMutableFeatureGate} {
		more, why := server.Gates(g, Binary)
		if why != "" {
			t.Skipf("skiff: %s", why)
		}
		features = append(features, more...)
	}
	key, err := server.SigningKeyFile()
	if err != nil {
		return nil, err
	}
	if o.ServiceAccountSigningKeyFile == "" {
		o.ServiceAccountSigningKeyFile = key
		o.Authentication.ServiceAccounts.KeyFiles = []string{key}
		o.Authentication.ServiceAccounts.Issuers = []string{"https://foo.bar.example.com"}
	}
	always := []string{"enable-bootstrap-token-auth", "etcd-prefix", "service-cluster-ip-range"}
	if o.Authorization.AuthorizationConfigurationFile == "" {
		if len(o.Authorization.Modes) == 0 {
			o.Authorization.Modes = []string{"AlwaysAllow"} // kube-apiserver's default
		}
		always = append(always, "authorization-mode")
	}
	flags, missing, err := server.Flags(flagSet(kubeoptions.NewServerRunOptions()), flagSet(o), always...)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		t.Skipf("skiff has no flag %s", strings.Join(missing, " "))
	}
	t.Logf("skiff server %s", strings.Join(flags, " "))
	flags = append(flags, features...)
	s, err := server.Start(flags, o.Authentication.TokenFile.TokenFile)
	if server.Unknown(err) {
		t.Skipf("skiff: %s", strings.Join(features, " "))
	}
	if err != nil {
		return nil, fmt.Errorf("skiff: %w", err)
	}
	o.SecureServing.BindPort = s.Port
	o.SecureServing.ServerCert.CertKey.CertFile = s.CAFile
	return s, nil
}

func flagSet(o *kubeoptions.ServerRunOptions) *pflag.FlagSet {
	out := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, f := range o.Flags().FlagSets {
		out.AddFlagSet(f)
	}
	return out
}

// FrontProxy makes the authority of front proxies, and the server's own
// certificate of it, in dir.
func FrontProxy(dir string, o *kubeoptions.ServerRunOptions, ca *server.CA) error {
	if ca == nil {
		var err error
		if ca, err = server.NewCA("front-proxy-ca"); err != nil {
			return err
		}
	}
	const name = "kube-aggregator"
	front := &options.NewDelegatingAuthenticationOptions().RequestHeader
	front.AllowedNames = []string{name}
	var err error
	if front.ClientCAFile, err = ca.Write(dir, "proxy-ca"); err != nil {
		return err
	}
	if o.ProxyClientCertFile, o.ProxyClientKeyFile, err = ca.Client(dir, name); err != nil {
		return err
	}
	o.Authentication.RequestHeader = front
	return nil
}

// ClientCA makes an authority for client certificates in dir.
func ClientCA(dir string, o *kubeoptions.ServerRunOptions) error {
	ca, err := server.NewCA("client-ca")
	if err != nil {
		return err
	}
	o.Authentication.ClientCert.ClientCA, err = ca.Write(dir, "client-ca")
	return err
}

// Stop ends a server after the checks that every test of Kubernetes ends with.
func Stop(ctx context.Context, t TB, s *server.Server, check bool) {
	t.Helper()
	if check && ctx.Err() == nil {
		client, err := kubernetes.NewForConfig(s.Config)
		if err == nil {
			err = metrics.CheckMetricInvariants(ctx, client, false)
		}
		if err != nil {
			t.Errorf("metrics: %v", err)
		}
	}
	if t.Failed() {
		t.Logf("the server's log: %s", s.Log())
	}
	if err := s.Stop(); err != nil {
		t.Errorf("%v", err)
	}
}

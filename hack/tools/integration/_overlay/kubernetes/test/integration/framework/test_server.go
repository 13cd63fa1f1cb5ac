package framework

import (
	"context"
	"os"
	"path"
	"reflect"
	"testing"

	"github.com/google/uuid"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"github.com/skiffcluster/skiff/hack/tools/integration/kube"
	"github.com/skiffcluster/skiff/hack/tools/integration/server"
)

// TestServerSetup is what a test may ask of its server, as Kubernetes' own of
// this name.
type TestServerSetup struct {
	ModifyServerRunOptions func(*options.ServerRunOptions)
	ModifyServerConfig     func(*controlplane.Config)
	DisableInvariantChecks bool
}

// TearDownFunc ends a server.
type TearDownFunc func()

// StartTestServer starts `skiff server` in the place of a kube-apiserver in
// the test's process.
func StartTestServer(ctx context.Context, t testing.TB, setup TestServerSetup) (client.Interface, *rest.Config, TearDownFunc) {
	t.Helper()
	dir, err := os.MkdirTemp("", "skiff-integration-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(t, dir, setup)
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatal(err)
	}
	config := rest.CopyConfig(s.Config)
	c, err := client.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, config, func() {
		kube.Stop(ctx, t, s, !setup.DisableInvariantChecks)
		_ = os.RemoveAll(dir)
	}
}

func start(t testing.TB, dir string, setup TestServerSetup) (*server.Server, error) {
	o := options.NewServerRunOptions()
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	version := compatibility.DefaultKubeEffectiveVersionForTest()
	version.SetEmulationVersion(gates.EmulationVersion())
	registry := basecompatibility.NewComponentGlobalsRegistry()
	if err := registry.Register(basecompatibility.DefaultKubeComponent, version, gates); err != nil {
		return nil, err
	}
	o.GenericServerRunOptions.ComponentGlobalsRegistry = registry
	o.SecureServing.ServerCert.CertDirectory = dir
	o.Etcd.StorageConfig.Prefix = path.Join("/", uuid.New().String(), "registry")
	o.Etcd.StorageConfig.Transport.ServerList = []string{GetEtcdURL()}
	o.ServiceClusterIPRanges = "10.0.0.0/24"
	if err := kube.FrontProxy(dir, o, nil); err != nil {
		return nil, err
	}
	if err := kube.ClientCA(dir, o); err != nil {
		return nil, err
	}
	const issuer = "https://foo.bar.example.com"
	key, err := server.SigningKeyFile()
	if err != nil {
		return nil, err
	}
	o.ServiceAccountSigningKeyFile = key
	o.Authentication.APIAudiences = []string{issuer}
	o.Authentication.ServiceAccounts.Issuers = []string{issuer}
	o.Authentication.ServiceAccounts.KeyFiles = []string{key}
	o.Authorization.Modes = []string{"Node", "RBAC"}
	if setup.ModifyServerRunOptions != nil {
		setup.ModifyServerRunOptions(o)
	}
	if setup.ModifyServerConfig != nil && reaches(setup.ModifyServerConfig) {
		t.Skip("skiff: the test reaches into the server's process")
	}
	return kube.Start(t, o, gates)
}

// reaches says whether a test puts something of its own process into a server.
func reaches(modify func(*controlplane.Config)) (yes bool) {
	defer func() {
		if recover() != nil { // it wants what a server has
			yes = true
		}
	}()
	c := &controlplane.Config{}
	c.ControlPlane.Generic = genericapiserver.NewConfig(legacyscheme.Codecs)
	modify(c)
	g := c.ControlPlane.Generic
	return g.AdmissionControl != nil || g.Authentication.Authenticator != nil || g.Authorization.Authorizer != nil ||
		!reflect.DeepEqual(c.ControlPlane.Extra, controlplaneapiserver.Extra{}) || !reflect.DeepEqual(c.Extra, controlplane.Extra{})
}

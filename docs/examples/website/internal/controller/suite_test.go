package controller_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
	webv1alpha1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1alpha1"
	"github.com/skiffcluster/skiff/docs/examples/website/internal/controller"
	websitewebhook "github.com/skiffcluster/skiff/docs/examples/website/internal/webhook"
)

// directory is the ConfigMap that lists the sites.
var directory = client.ObjectKey{Namespace: "website-system", Name: "websites"}

const defaultImage = "example.com/default:v1"

// start runs the operator, with its webhooks and with no more than the rights
// that it has when it is deployed, on a cluster of the test's own.
func start(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, webv1.AddToScheme, webv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := clustertest.With(t, cluster.Config{
		CRDs:      []string{"../../config/crd/bases"},
		Manifests: []string{"../../config/namespace", "../../config/rbac"},
		Webhooks:  &cluster.Webhooks{Manifests: []string{"../../config/webhook/manifests.yaml"}},
		Scheme:    scheme,
	})
	m, err := ctrl.NewManager(c.As("system:serviceaccount:website-system:website-manager"), ctrl.Options{
		Scheme: scheme, WebhookServer: c.WebhookServer(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:          controller.CacheOptions(directory),
		LeaderElection: true, LeaderElectionID: "website.example.com", LeaderElectionNamespace: directory.Namespace, LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &controller.Reconciler{Client: m.GetClient(), Events: m.GetEventRecorder("website-operator"), Directory: directory, SkipNameValidation: true}
	if err := r.SetupWithManager(m); err != nil {
		t.Fatal(err)
	}
	if err := websitewebhook.Setup(m, defaultImage); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	eventually(t, "webhooks answer", func() (bool, string) {
		err := m.GetWebhookServer().StartedChecker()(nil)
		return err == nil, fmt.Sprint(err)
	})
	return c.Client()
}

// eventually waits until a condition holds; what it says last is the failure.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	const patience = time.Minute
	said := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ok, state := holds()
		if ok {
			return
		}
		said = state
	}
	t.Fatalf("%s: not within %v; last: %s", what, patience, said)
}

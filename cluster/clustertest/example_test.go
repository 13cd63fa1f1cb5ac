package clustertest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// A test gives its own manager the cluster's configuration.
func ExampleNew() {
	test := func(t *testing.T) {
		c := clustertest.New(t)
		mgr, err := ctrl.NewManager(c.RESTConfig(), ctrl.Options{Metrics: metricsserver.Options{BindAddress: "0"}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := mgr.Start(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if err := c.Client().Create(t.Context(), &appsv1.Deployment{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = test
}

// What a suite of kubebuilder's does before its tests, without a testing.T.
func Example_suite() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		panic(err)
	}
	example := filepath.Join("..", "..", "docs", "examples", "website")
	testEnv, err := cluster.Start(ctx, cluster.Config{
		CRDs:     []string{filepath.Join(example, "config", "crd", "bases")},
		Webhooks: &cluster.Webhooks{Manifests: []string{filepath.Join(example, "config", "webhook", "manifests.yaml")}},
		Scheme:   scheme,
	})
	if err != nil {
		panic(err)
	}
	defer testEnv.Stop()
	if _, err := ctrl.NewManager(testEnv.RESTConfig(), ctrl.Options{
		Scheme: scheme, WebhookServer: testEnv.WebhookServer(), Metrics: metricsserver.Options{BindAddress: "0"},
	}); err != nil {
		panic(err)
	}
	k, err := testEnv.Client()
	if err != nil {
		panic(err)
	}
	sites := &appsv1.DeploymentList{}
	if err := k.List(ctx, sites, client.InNamespace("default")); err != nil {
		panic(err)
	}
	fmt.Println(len(sites.Items), "Deployments")
	// Output: 0 Deployments
}

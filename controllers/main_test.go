package controllers_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
	"github.com/skiffcluster/skiff/internal/roomtest"
)

// patience bounds every wait; a machine busy with other tests is slow.
const patience = 30 * time.Second

// start runs controllers, by their names, against an API server of their own.
func start(t *testing.T, names ...string) client.Client {
	t.Helper()
	return startAt(t, clustertest.APIServer(t), names...)
}

// startAt runs controllers against an API server.
func startAt(t *testing.T, api *clustertest.Cluster, names ...string) client.Client {
	t.Helper()
	allowPods(t, api.Client())
	run(t, controllers.Config{REST: api.RESTConfig(), Controllers: names})
	return api.Client()
}

// allowPods creates what admission wants to see before it lets a pod in, and
// what another controller creates in a whole cluster.
func allowPods(t *testing.T, c client.Client) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	eventually(t, func() string {
		if err := c.Create(t.Context(), account.DeepCopy()); client.IgnoreAlreadyExists(err) != nil {
			return err.Error()
		}
		return ""
	})
}

// runPods makes every pod in namespace default ready until the test ends, as a
// node would.
func runPods(t *testing.T, c client.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		wait.UntilWithContext(ctx, func(ctx context.Context) { makeReady(ctx, c) }, 5*time.Millisecond)
	}()
}

// makeReady makes every pod that is not yet ready so. A pod that is gone, or
// that has changed meanwhile, is left for the next time.
func makeReady(ctx context.Context, c client.Client) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace("default")); err != nil {
		return
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		_ = c.Status().Update(ctx, pod)
	}
}

// run runs the room until the test ends, or until the returned function.
func run(t *testing.T, cfg controllers.Config) (room *controllers.Controllers, stop func()) {
	t.Helper()
	room, err := controllers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return room, roomtest.Run(t, room)
}

// eventually waits until check says no more what is missing.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", patience, missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

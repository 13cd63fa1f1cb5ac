package clustertest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// patience bounds every wait; a machine that is busy with other tests is slow.
const patience = time.Minute

// eventually waits until a condition holds; what it says last is the failure.
func eventually(t testing.TB, what string, holds func() (bool, string)) {
	t.Helper()
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

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/image:v1"}}},
			},
		},
	}
}

// available waits until a Deployment's pods serve.
func available(t testing.TB, k client.Client, d *appsv1.Deployment) {
	t.Helper()
	eventually(t, "Deployment "+d.Name+" is available", func() (bool, string) {
		if err := k.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
			return false, err.Error()
		}
		return d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.ObservedGeneration == d.Generation, fmt.Sprintf("%+v", d.Status)
	})
}

func TestDeploymentBecomesAvailableAndANamespaceGoesAway(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t)
	d := deployment("web", 3)
	if err := c.Client().Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	available(t, c.Client(), d)

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "short"}}
	inside := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "short", Name: "inside"}}
	for _, o := range []client.Object{ns, inside} {
		if err := c.Client().Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Client().Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone", func() (bool, string) {
		err := c.Client().Get(t.Context(), client.ObjectKeyFromObject(ns), ns)
		return client.IgnoreNotFound(err) == nil && err != nil, fmt.Sprint(ns.Status)
	})
}

func TestClustersOfOneProcessDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	const clusters = 4
	var group sync.WaitGroup
	for i := range clusters {
		group.Go(func() {
			c := clustertest.New(t)
			d := deployment(fmt.Sprintf("web-%d", i), 1)
			if err := c.Client().Create(t.Context(), d); err != nil {
				t.Error(err)
				return
			}
			available(t, c.Client(), d)
			all := &appsv1.DeploymentList{}
			if err := c.Client().List(t.Context(), all); err != nil {
				t.Error(err)
			}
			if len(all.Items) != 1 || all.Items[0].Name != d.Name {
				t.Errorf("cluster %d has %d Deployments: %v", i, len(all.Items), all.Items)
			}
		})
	}
	group.Wait()
}

// failing is a test that has failed, seen from outside.
type failing struct {
	testing.TB
	mu       sync.Mutex
	cleanups []func()
	logged   strings.Builder
}

func (f *failing) Failed() bool      { return true }
func (f *failing) Cleanup(do func()) { f.cleanups = append(f.cleanups, do) }
func (f *failing) Log(args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintln(&f.logged, args...)
}

func (f *failing) end() {
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
}

func TestAFailedTestIsToldEventsAndPods(t *testing.T) {
	t.Parallel()
	f := &failing{TB: t}
	c := clustertest.New(f)
	d := deployment("nowhere", 1)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such"}
	if err := c.Client().Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the scheduler has said why", func() (bool, string) {
		events := &corev1.EventList{}
		if err := c.Client().List(t.Context(), events); err != nil {
			return false, err.Error()
		}
		for _, e := range events.Items {
			if e.Reason == "FailedScheduling" {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(events.Items), " events")
	})
	f.end()
	for _, want := range []string{"ScalingReplicaSet", "FailedScheduling", "Pod default/nowhere-", "0/1 ready", "not PodScheduled: Unschedulable"} {
		if !strings.Contains(f.logged.String(), want) {
			t.Errorf("what was logged lacks %q:\n%s", want, f.logged.String())
		}
	}
}

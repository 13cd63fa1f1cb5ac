package podautoscaler

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var tenth = tolerances{0.1, 0.1}

// pod is one that runs since an hour and has been ready for as long.
func pod(i int, change ...func(*corev1.Pod)) *corev1.Pod {
	long := metav1.NewTime(epoch.Add(-time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &long, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long},
		}},
	}
	for _, each := range change {
		each(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

// beginning pods started a minute ago and became ready ten seconds ago.
func beginning(p *corev1.Pod) {
	started := metav1.NewTime(epoch.Add(-time.Minute))
	p.Status.StartTime = &started
	p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(epoch.Add(-10 * time.Second))
}

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }

func failed(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }

func leaving(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: epoch} }

// use is what pods use, in thousandths; a negative number is no sample.
func use(values ...int64) samples {
	s := samples{}
	for i, value := range values {
		if value >= 0 {
			s[fmt.Sprint("p", i)] = sample{value: value, at: epoch, window: time.Minute}
		}
	}
	return s
}

func TestPlanReplicas(t *testing.T) {
	steady := func(n int) (pods []*corev1.Pod) {
		for i := range n {
			pods = append(pods, pod(i))
		}
		return pods
	}
	for _, c := range []struct {
		name     string
		current  int32
		pods     []*corev1.Pod
		measured samples
		want     int32
		err      string
	}{
		{name: "twice the use is twice the pods", current: 3, pods: steady(3), measured: use(1000, 1000, 1000), want: 6},
		{name: "a part more is rounded up", current: 3, pods: steady(3), measured: use(300, 500, 700), want: 3},
		{name: "half the use is half the pods, rounded up", current: 3, pods: steady(3), measured: use(250, 250, 250), want: 2},
		{name: "within a tenth nothing is done", current: 3, pods: steady(3), measured: use(545, 545, 545), want: 3},
		{name: "a pod that waits uses nothing on the way up", current: 4, pods: []*corev1.Pod{pod(0), pod(1), pod(2), pod(3, pending)}, measured: use(1000, 1000, 1000, -1), want: 6},
		{name: "one that begins uses nothing on the way up", current: 3, pods: []*corev1.Pod{pod(0), pod(1), pod(2, beginning)}, measured: use(1000, 1000, 9000), want: 4},
		{name: "pods that wait keep an increase from being one", current: 3, pods: []*corev1.Pod{pod(0), pod(1, pending), pod(2, pending)}, measured: use(600), want: 3},
		{name: "a missing sample is all of the request on the way down", current: 3, pods: steady(3), measured: use(100, 100, -1), want: 3},
		{name: "and nothing on the way up", current: 3, pods: steady(3), measured: use(1000, 1000, -1), want: 4},
		{name: "pods that fail or go do not count", current: 3, pods: []*corev1.Pod{pod(0), pod(1, failed), pod(2, leaving)}, measured: use(1000, 9000, 9000), want: 2},
		{name: "a pod that was never ready does not count", current: 2, pods: []*corev1.Pod{pod(0), pod(1, unready, func(p *corev1.Pod) {
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(p.Status.StartTime.Add(10 * time.Second))
		})}, measured: use(500, 9000), want: 2},
		{name: "none measured is a failure", current: 1, pods: []*corev1.Pod{pod(0, pending)}, measured: use(-1), err: "did not receive metrics for targeted pods (pods might be unready)"},
		{name: "no pods are a failure", current: 1, measured: use(1), err: "no pods returned by selector while calculating replica count"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, err := requestsOf(c.pods, corev1.ResourceCPU, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := planReplicas(c.current, c.pods, c.measured, corev1.ResourceCPU, utilizationAim(50, requests), tenth, epoch)
			if fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if got != c.want {
				t.Errorf("%d replicas, want %d", got, c.want)
			}
		})
	}
}

func TestRequestsOf(t *testing.T) {
	bare := pod(0, func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} })
	if _, err := requestsOf([]*corev1.Pod{bare}, corev1.ResourceCPU, ""); err == nil || err.Error() != "missing request for cpu in container c of Pod p0" {
		t.Errorf("error %v", err)
	}
	sidecar := pod(1, func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{Name: "once"}, {Name: "side", RestartPolicy: &always, Resources: p.Spec.Containers[0].Resources}}
	})
	if got, err := requestsOf([]*corev1.Pod{sidecar}, corev1.ResourceCPU, ""); err != nil || got["p1"] != 2000 {
		t.Errorf("requests %v (%v)", got, err)
	}
	if got, err := requestsOf([]*corev1.Pod{sidecar}, corev1.ResourceCPU, "side"); err != nil || got["p1"] != 1000 {
		t.Errorf("requests %v (%v)", got, err)
	}
}

package endpointslice

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

func service(name string, selector map[string]string) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Spec: corev1.ServiceSpec{Selector: selector}}
}

func TestSelecting(t *testing.T) {
	services := []corev1.Service{
		service("web", map[string]string{"app": "web"}),
		service("web-blue", map[string]string{"app": "web", "track": "blue"}),
		service("by-hand", nil),
		service("everything", map[string]string{}),
	}
	for _, c := range []struct {
		name string
		sets []labels.Set
		want string
	}{
		{"a pod is selected by every service whose labels it has", []labels.Set{{"app": "web", "track": "blue"}}, "[team/web team/web-blue team/everything]"},
		{"a pod with fewer labels by fewer", []labels.Set{{"app": "web"}}, "[team/web team/everything]"},
		{"a service without selector selects nothing, an empty selector all", []labels.Set{{}}, "[team/everything]"},
		{"old and new labels count, each service once", []labels.Set{{"app": "web"}, {"app": "web", "track": "blue"}}, "[team/web team/web-blue team/everything]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(selecting(services, c.sets...)); got != c.want {
				t.Errorf("selected by %s, want %s", got, c.want)
			}
		})
	}
}

func TestPace(t *testing.T) {
	p := &Pace{Interval: 100 * time.Millisecond}
	web, other := types.NamespacedName{Name: "web"}, types.NamespacedName{Name: "other"}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		name string
		key  types.NamespacedName
		at   time.Duration
		want time.Duration
	}{
		{"the first turn is taken at once", web, 0, 0},
		{"the next waits for the rest of the interval", web, 30 * time.Millisecond, 70 * time.Millisecond},
		{"another service does not wait", other, 30 * time.Millisecond, 0},
		{"when the interval is over the turn is taken", web, 100 * time.Millisecond, 0},
		{"and counts", web, 101 * time.Millisecond, 99 * time.Millisecond},
		{"a clock that was set back holds nothing up", web, -time.Hour, 0},
	} {
		if got := p.Wait(step.key, start.Add(step.at)); got != step.want {
			t.Errorf("%s: waits %v, want %v", step.name, got, step.want)
		}
	}
	p.Forget(other)
	if got := p.Wait(other, start.Add(31*time.Millisecond)); got != 0 {
		t.Errorf("a service that was forgotten waits %v", got)
	}
}

func TestIsOnlyConflicts(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "endpointslices"}, "web-abc", errors.New("changed"))
	wrapped := fmt.Errorf("failed to update web-abc: %w", conflict)
	if !isOnlyConflicts(utilerrors.NewAggregate([]error{utilerrors.NewAggregate([]error{wrapped, conflict})})) {
		t.Error("conflicts were taken for something else")
	}
	if isOnlyConflicts(utilerrors.NewAggregate([]error{wrapped, errors.New("no space")})) {
		t.Error("another error was taken for a conflict")
	}
}

func TestShare(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
		},
	}
	heartbeat := node.DeepCopy()
	heartbeat.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Now().Add(time.Minute))
	if share(node) != share(heartbeat) {
		t.Error("a heartbeat counts as a change of topology")
	}
	for name, change := range map[string]func(*corev1.Node){
		"readiness":  func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse },
		"zone":       func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = "b" },
		"processors": func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("8") },
		"role":       func(n *corev1.Node) { n.Labels["node-role.kubernetes.io/control-plane"] = "" },
	} {
		changed := node.DeepCopy()
		change(changed)
		if share(node) == share(changed) {
			t.Errorf("a change of %s does not count", name)
		}
	}
}

func TestIsOurs(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{}
	if isOurs(slice) {
		t.Error("a slice without label is taken for ours")
	}
	slice.Labels = map[string]string{discoveryv1.LabelManagedBy: ManagedBy}
	if !isOurs(slice) {
		t.Error("our slice is not known")
	}
}

package namespace

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestPlanResources(t *testing.T) {
	all := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "watch"}
	resources, errs := planResources([]*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Namespaced: true, Verbs: all},
			{Name: "pods/log", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "bindings", Namespaced: true, Verbs: metav1.Verbs{"create"}},
			{Name: "nodes", Verbs: all},
		}},
		{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{
			{Name: "widgets", Namespaced: true, Verbs: metav1.Verbs{"delete", "list"}},
			{Name: "wishes", Namespaced: true, Verbs: metav1.Verbs{"delete"}},
		}},
		{GroupVersion: "a/b/c"},
	})
	if len(errs) != 1 {
		t.Errorf("errors are %v, want one for the impossible group version", errs)
	}
	want := []resource{
		{gvr: podResource, canList: true, canDeleteAll: true},
		{gvr: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}, canList: true},
		{gvr: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "wishes"}},
	}
	if !slices.Equal(resources, want) {
		t.Errorf("resources are %+v, want %+v", resources, want)
	}
}

func TestConditions(t *testing.T) {
	pods := podResource
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	for _, c := range []struct {
		name    string
		found   func(*findings)
		failing map[corev1.NamespaceConditionType]string // reason: message
	}{
		{"an empty namespace has no failing condition", func(*findings) {}, nil},
		{
			"what remains is listed in order", func(f *findings) {
				f.remaining[widgets], f.remaining[pods] = 1, 2
				f.finalizers["example.com/b"], f.finalizers["example.com/a"] = 1, 3
			},
			map[corev1.NamespaceConditionType]string{
				corev1.NamespaceContentRemaining:    "SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances",
				corev1.NamespaceFinalizersRemaining: "SomeFinalizerRemain: Some content in the namespace has finalizers remaining: example.com/a in 3 resource instances, example.com/b in 1 resource instances",
			},
		},
		{
			"groups that do not answer are counted", func(f *findings) {
				f.discoveryErr = &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{{Group: "metrics.k8s.io", Version: "v1beta1"}: errors.New("the server is currently unable to handle the request")}}
			},
			map[corev1.NamespaceConditionType]string{
				corev1.NamespaceDeletionDiscoveryFailure: "DiscoveryFailed: Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: the server is currently unable to handle the request",
			},
		},
		{
			"content errors are sorted", func(f *findings) { f.contentErrs = []error{errors.New("b failed"), errors.New("a failed")} },
			map[corev1.NamespaceConditionType]string{
				corev1.NamespaceDeletionContentFailure: "ContentDeletionFailed: Failed to delete all resource types, 2 remaining: a failed, b failed",
			},
		},
		{
			"impossible group versions are told", func(f *findings) { f.versionErrs = []error{errors.New("unexpected GroupVersion string: a/b/c")} },
			map[corev1.NamespaceConditionType]string{
				corev1.NamespaceDeletionGVParsingFailure: "GroupVersionParsingFailed: unexpected GroupVersion string: a/b/c",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := newFindings()
			c.found(found)
			if found.clean() != (len(c.failing) == 0) {
				t.Errorf("clean is %v", found.clean())
			}
			conditions := found.conditions()
			if len(conditions) != 5 {
				t.Fatalf("%d conditions, want all five", len(conditions))
			}
			for _, condition := range conditions {
				want, failing := c.failing[condition.Type]
				if (condition.Status == corev1.ConditionTrue) != failing {
					t.Errorf("%s is %s", condition.Type, condition.Status)
				}
				if got := condition.Reason + ": " + condition.Message; failing && got != want {
					t.Errorf("%s says %q, want %q", condition.Type, got, want)
				}
			}
		})
	}
}

func TestPlanStatus(t *testing.T) {
	found := newFindings()
	found.remaining[podResource] = 1
	first := planStatus(corev1.NamespaceStatus{Phase: corev1.NamespaceActive, Conditions: []corev1.NamespaceCondition{{Type: "Custom"}}}, found, epoch)
	if first == nil || first.Phase != corev1.NamespaceTerminating || len(first.Conditions) != 6 || first.Conditions[0].Type != "Custom" {
		t.Fatalf("the first status is %+v", first)
	}
	if again := planStatus(*first, found, epoch.Add(time.Minute)); again != nil {
		t.Errorf("nothing changed, but %+v is written", again)
	}
	found.remaining[podResource] = 7
	more := planStatus(*first, found, epoch.Add(time.Minute))
	if more == nil {
		t.Fatal("a new count is not written")
	}
	for _, condition := range more.Conditions {
		if condition.Type == corev1.NamespaceContentRemaining {
			if !strings.Contains(condition.Message, "has 7") || !condition.LastTransitionTime.Time.Equal(epoch) {
				t.Errorf("condition is %+v; only its message should have changed", condition)
			}
		}
	}
}

func TestStopEstimate(t *testing.T) {
	pod := func(phase corev1.PodPhase, spec, deletion *int64) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{DeletionGracePeriodSeconds: deletion},
			Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: spec},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	for _, c := range []struct {
		name    string
		pods    []corev1.Pod
		elapsed int64
		want    int64
	}{
		{"no pods need no time", nil, 0, 0},
		{"the longest grace counts", []corev1.Pod{pod(corev1.PodRunning, ptr.To[int64](30), nil), pod(corev1.PodRunning, ptr.To[int64](60), nil)}, 10, 50},
		{"the deletion's own grace comes first", []corev1.Pod{pod(corev1.PodRunning, ptr.To[int64](300), ptr.To[int64](5))}, 0, 5},
		{"a pod that has ended needs a moment", []corev1.Pod{pod(corev1.PodSucceeded, ptr.To[int64](300), nil)}, 0, 1},
		{"a pod that is late needs a moment", []corev1.Pod{pod(corev1.PodRunning, ptr.To[int64](30), nil)}, 100, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := stopEstimate(c.pods, c.elapsed); got != c.want {
				t.Errorf("estimate is %d, want %d", got, c.want)
			}
		})
	}
}

func TestWait(t *testing.T) {
	for _, c := range []struct {
		looks    int
		estimate int64
		want     time.Duration
	}{
		{1, 15, 50 * time.Millisecond},
		{2, 15, 100 * time.Millisecond},
		{8, 15, 6400 * time.Millisecond},
		{9, 15, 8 * time.Second},
		{1000, 15, 8 * time.Second},
		{100, 1, time.Second},
	} {
		if got := wait(c.looks, c.estimate); got != c.want {
			t.Errorf("look %d, estimate %d s: waits %v, want %v", c.looks, c.estimate, got, c.want)
		}
	}
}

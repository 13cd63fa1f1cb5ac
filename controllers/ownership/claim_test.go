package ownership_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/ownership"
)

func TestPlan(t *testing.T) {
	now := ptr.To(metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	pod := func(name, app string, deleted *metav1.Time) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}, DeletionTimestamp: deleted}}
	}
	web := labels.SelectorFromSet(labels.Set{"app": "web"})
	tests := []struct {
		name                 string
		deleting             bool
		selector             labels.Selector
		owned, orphans       []*corev1.Pod
		keep, adopt, release string
	}{
		{"a child that matches stays", false, web, []*corev1.Pod{pod("a", "web", nil)}, nil, "a", "", ""},
		{"one that no longer matches is released", false, web, []*corev1.Pod{pod("a", "web", nil), pod("b", "x", nil)}, nil, "a", "", "b"},
		{"an orphan that matches is adopted", false, web, nil, []*corev1.Pod{pod("a", "web", nil), pod("b", "x", nil)}, "", "a", ""},
		{"a terminating orphan is not", false, web, nil, []*corev1.Pod{pod("a", "web", now)}, "", "", ""},
		{"a terminating child stays one", false, web, []*corev1.Pod{pod("a", "web", now)}, nil, "a", "", ""},
		{"an owner that is being deleted leaves all as it is", true, web, []*corev1.Pod{pod("a", "web", nil), pod("b", "x", nil)}, []*corev1.Pod{pod("c", "web", nil)}, "a", "", ""},
		{"a selector of everything adopts nothing", false, labels.Everything(), []*corev1.Pod{pod("a", "x", nil)}, []*corev1.Pod{pod("b", "x", nil)}, "a", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			owner := &appsv1.ReplicaSet{}
			if test.deleting {
				owner.DeletionTimestamp = now
			}
			got := ownership.Plan(owner, test.selector, test.owned, test.orphans)
			for _, each := range []struct {
				what, want string
				pods       []*corev1.Pod
			}{{"keep", test.keep, got.Keep}, {"adopt", test.adopt, got.Adopt}, {"release", test.release, got.Release}} {
				var names []string
				for _, p := range each.pods {
					names = append(names, p.Name)
				}
				if joined := strings.Join(names, " "); joined != each.want {
					t.Errorf("%s %q, want %q", each.what, joined, each.want)
				}
			}
		})
	}
}

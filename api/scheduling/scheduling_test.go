package scheduling_test

import (
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/scheduling"
)

func TestPriorityClass(t *testing.T) {
	class := func(name string, value int32) *schedulingv1.PriorityClass {
		p := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		scheduling.PriorityClass.Default(p)
		return p
	}
	for _, c := range []struct {
		name  string
		class *schedulingv1.PriorityClass
		want  []string
	}{
		{"users go up to a billion", class("high", 1_000_000_000), nil},
		{"users do not go higher", class("high", 1_000_000_001), []string{"value: Forbidden: maximum allowed value of a user defined priority is 1000000000"}},
		{"the system has its classes", class("system-node-critical", 2_000_001_000), nil},
		{"users have none of the system's names", class("system-mine", 1), []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, scheduling.PriorityClass.ValidateCreate(c.class), c.want...) })
	}
	kindtest.Errors(t, scheduling.PriorityClass.ValidateUpdate(class("a", 2), class("a", 1)), "value: Forbidden: may not be changed in an update.")
}

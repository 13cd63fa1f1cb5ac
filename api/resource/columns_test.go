package resource_test

import (
	"fmt"
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/resource"
)

func TestAnswersAboutPoolsArePrinted(t *testing.T) {
	pools := []resourcev1alpha3.PoolStatus{
		{TotalDevices: ptr.To[int32](8), AllocatedDevices: ptr.To[int32](3), AvailableDevices: ptr.To[int32](4), UnavailableDevices: ptr.To[int32](1)},
		{TotalDevices: ptr.To[int32](2), AvailableDevices: ptr.To[int32](2)},
		{ValidationError: ptr.To("incomplete")},
	}
	answer := func(kind string, count int32) *resourcev1alpha3.ResourcePoolStatusRequestStatus {
		return &resourcev1alpha3.ResourcePoolStatusRequestStatus{Pools: pools, PoolCount: &count, Conditions: []metav1.Condition{
			{Type: kind, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-10*time.Minute - 30*time.Second))},
		}}
	}
	for _, c := range []struct {
		name   string
		status *resourcev1alpha3.ResourcePoolStatusRequestStatus
		want   string
	}{
		{"there is none yet", nil, "[- - - - - 0 Pending <none>]"},
		{"it is whole", answer("Complete", 3), "[10 6 3 1 1 3 Complete 10m]"},
		{"it is cut short", answer("Complete", 5), "[10 6 3 1 1 5 Complete (3/5 pools) 10m]"},
		{"it failed", answer("Failed", 0), "[- - - - - 0 Failed <none>]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &resourcev1alpha3.ResourcePoolStatusRequest{Status: c.status}
			if got := fmt.Sprint(resource.ResourcePoolStatusRequest.Erase().Cells(r)[2:]); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTaintsArePrinted(t *testing.T) {
	added := metav1.NewTime(time.Now().Add(-10*time.Minute - 30*time.Second))
	rule := &resourcev1.DeviceTaintRule{Spec: resourcev1.DeviceTaintRuleSpec{Taint: resourcev1.DeviceTaint{Key: "hot", Value: "yes", Effect: resourcev1.DeviceTaintEffectNoExecute, TimeAdded: &added}}}
	cells := resource.DeviceTaintRule.Erase().Cells
	if got := fmt.Sprint(cells(rule)[1:5]); got != "[hot yes NoExecute 10m]" {
		t.Errorf("%s", got)
	}
	if got := cells(&resourcev1.DeviceTaintRule{})[4]; got != "" {
		t.Errorf("never added: %v", got)
	}
}

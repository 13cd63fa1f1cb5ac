package controller

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

func TestPlanStatus(t *testing.T) {
	three := int32(3)
	deployment := func(generation, observed int64, replicas, updated, available int32) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: generation},
			Spec:       appsv1.DeploymentSpec{Replicas: &three},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: observed, Replicas: replicas, UpdatedReplicas: updated, AvailableReplicas: available},
		}
	}
	for _, c := range []struct {
		name           string
		deployment     *appsv1.Deployment
		failed         error
		status         metav1.ConditionStatus
		reason, detail string
	}{
		{"there is no Deployment yet", &appsv1.Deployment{}, nil, metav1.ConditionFalse, "Progressing", "0 of 1 pods serve"},
		{"the Deployment's controller has not looked yet", deployment(2, 1, 3, 3, 3), nil, metav1.ConditionFalse, "Progressing", "3 of 3 pods serve"},
		{"some pods serve", deployment(1, 1, 3, 3, 2), nil, metav1.ConditionFalse, "Progressing", "2 of 3 pods serve"},
		{"an old pod is still there", deployment(2, 2, 4, 3, 3), nil, metav1.ConditionFalse, "Progressing", "3 of 3 pods serve"},
		{"all serve", deployment(1, 1, 3, 3, 3), nil, metav1.ConditionTrue, "Serving", "3 pods serve"},
		{"it could not be applied", deployment(1, 1, 3, 3, 3), errors.New("no room"), metav1.ConditionFalse, "Failed", "no room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := &webv1.Website{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Generation: 7}, Spec: webv1.WebsiteSpec{Port: 80}}
			got := planStatus(site, c.deployment, c.failed)
			is := meta.FindStatusCondition(got.Conditions, webv1.Available)
			if is == nil || is.Status != c.status || is.Reason != c.reason || is.Message != c.detail {
				t.Errorf("condition: got %+v, want %s %s %q", is, c.status, c.reason, c.detail)
			}
			if got.ObservedGeneration != 7 || got.URL != "http://a.b.svc/" {
				t.Errorf("status: got %+v", got)
			}
		})
	}
}

package policy_test

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/policy"
)

func TestPodDisruptionBudget(t *testing.T) {
	b := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("50%"))}}
	kindtest.Errors(t, policy.PodDisruptionBudget.Validate(b))
	if cells := policy.PodDisruptionBudget.Erase().Cells(b); cells[1] != "50%" || cells[2] != "N/A" || cells[3] != int64(0) {
		t.Errorf("%v", cells)
	}
	b.Spec.MaxUnavailable = ptr.To(intstr.FromString("101%"))
	kindtest.Errors(t, policy.PodDisruptionBudget.Validate(b),
		`spec: Invalid value: {"minAvailable":"50%","maxUnavailable":"101%"}: minAvailable and maxUnavailable cannot be both set`,
		`spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%`)
	b.Status.DisruptionsAllowed = -1
	kindtest.Errors(t, policy.PodDisruptionBudget.Status.Validate(b, b), "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0")
}

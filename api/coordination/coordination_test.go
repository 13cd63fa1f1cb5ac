package coordination_test

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/coordination"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestLease(t *testing.T) {
	l := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To("n1"), LeaseDurationSeconds: ptr.To[int32](0), LeaseTransitions: ptr.To[int32](-1), PreferredHolder: ptr.To("n2"),
	}}
	kindtest.Errors(t, coordination.Lease.Validate(l),
		"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
		"spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
		"spec.preferredHolder: Forbidden: may only be specified when `strategy` is defined")
	if cells := coordination.Lease.Erase().Cells(l); cells[1] != "n1" {
		t.Errorf("%v", cells)
	}
}

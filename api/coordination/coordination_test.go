package coordination_test

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
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

func TestLeasesAreNotOfCoordinatedElections(t *testing.T) {
	with := func(strategy *coordinationv1.CoordinatedLeaseStrategy, holder *string) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{Strategy: strategy, PreferredHolder: holder}}
	}
	oldest, me := ptr.To(coordinationv1.OldestEmulationVersion), ptr.To("me")
	for _, c := range []struct {
		name     string
		old      *coordinationv1.Lease // nil: it is new
		strategy *coordinationv1.CoordinatedLeaseStrategy
		holder   *string
	}{
		{"a new lease has neither field", nil, nil, nil},
		{"an update adds neither", with(nil, nil), nil, nil},
		{"what is there stays", with(oldest, me), oldest, me},
		{"each for itself", with(oldest, nil), oldest, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := with(oldest, me)
			if c.old == nil {
				coordination.Lease.PrepareCreate(l)
			} else {
				coordination.Lease.PrepareUpdate(l, c.old)
			}
			if l.Spec.Strategy != c.strategy || l.Spec.PreferredHolder != c.holder {
				t.Errorf("%+v", l.Spec)
			}
		})
	}
}

func TestLeaseCandidate(t *testing.T) {
	if msgs := coordination.LeaseCandidate.NameValidation("Node_1", false); len(msgs) > 0 {
		t.Errorf("%q", msgs)
	}
	c := func(change func(*coordinationv1beta1.LeaseCandidateSpec)) *coordinationv1beta1.LeaseCandidate {
		c := &coordinationv1beta1.LeaseCandidate{Spec: coordinationv1beta1.LeaseCandidateSpec{
			LeaseName: "l", BinaryVersion: "1.37.2", EmulationVersion: "1.37.0", Strategy: coordinationv1.OldestEmulationVersion,
		}}
		change(&c.Spec)
		return c
	}
	for _, test := range []struct {
		name   string
		change func(*coordinationv1beta1.LeaseCandidateSpec)
		want   []string
	}{
		{"a candidate", func(*coordinationv1beta1.LeaseCandidateSpec) {}, nil},
		{"a strategy of somebody", func(s *coordinationv1beta1.LeaseCandidateSpec) {
			s.Strategy, s.EmulationVersion = "example.com/mine", ""
		}, nil},
		{"nothing", func(s *coordinationv1beta1.LeaseCandidateSpec) { *s = coordinationv1beta1.LeaseCandidateSpec{} }, []string{
			"spec.leaseName: Required value", "spec.binaryVersion: Required value", "spec.strategy: Required value",
		}},
		{"versions are versions", func(s *coordinationv1beta1.LeaseCandidateSpec) { s.BinaryVersion = "new" }, []string{
			`spec.binaryVersion: Invalid value: "new": must be a valid semantic version`,
			"spec.binaryVersion: Invalid value: \"new\": must be greater than or equal to `emulationVersion`",
		}},
		{"the oldest needs an age", func(s *coordinationv1beta1.LeaseCandidateSpec) { s.EmulationVersion = "" }, []string{
			"spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
		}},
		{"no strategy of ours", func(s *coordinationv1beta1.LeaseCandidateSpec) { s.Strategy = "Youngest" }, []string{
			`spec.strategy.strategy: Unsupported value: "Youngest": supported values: "OldestEmulationVersion"`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			kindtest.Errors(t, coordination.LeaseCandidate.Validate(c(test.change)), test.want...)
		})
	}
}

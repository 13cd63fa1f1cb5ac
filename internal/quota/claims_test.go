package quota_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/admission"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/internal/quota"
)

func claimOf(wants, has, changesTo string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		Spec:   corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: ptr.To(wants)},
		Status: corev1.PersistentVolumeClaimStatus{CurrentVolumeAttributesClassName: ptr.To(has)},
	}
	if changesTo != "" {
		c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: changesTo}
	}
	return c
}

func TestClaimsCountForTheirAttributesClasses(t *testing.T) {
	of := func(operator corev1.ScopeSelectorOperator, classes ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: operator, Values: classes}
	}
	tests := map[string]struct {
		scope corev1.ScopedResourceSelectorRequirement
		claim *corev1.PersistentVolumeClaim
		want  bool
	}{
		"a class that is wanted":                  {of(corev1.ScopeSelectorOpIn, "gold"), claimOf("gold", "", ""), true},
		"a class that it has still":               {of(corev1.ScopeSelectorOpIn, "gold"), claimOf("silver", "gold", ""), true},
		"a class that it changes to":              {of(corev1.ScopeSelectorOpIn, "gold"), claimOf("silver", "silver", "gold"), true},
		"another class":                           {of(corev1.ScopeSelectorOpIn, "gold"), claimOf("silver", "", ""), false},
		"any class":                               {of(corev1.ScopeSelectorOpExists), claimOf("silver", "", ""), true},
		"no class, of any":                        {of(corev1.ScopeSelectorOpExists), claimOf("", "", ""), false},
		"no class, of none":                       {of(corev1.ScopeSelectorOpDoesNotExist), claimOf("", "", ""), true},
		"one class of two is not the one refused": {of(corev1.ScopeSelectorOpNotIn, "gold"), claimOf("gold", "silver", ""), true},
		"a scope of pods":                         {corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeBestEffort}, claimOf("gold", "", ""), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := &corev1.ResourceQuota{
				Spec:   corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{test.scope}}},
				Status: corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: resource.MustParse("1")}},
			}
			got, err := evaluatorOf(t, "persistentvolumeclaims").Matches(q, test.claim)
			if err != nil || got != test.want {
				t.Errorf("counted: %v, want %v (%v)", got, test.want, err)
			}
		})
	}
}

func TestWhichRequestsAboutClaimsAreCounted(t *testing.T) {
	given := claimOf("gold", "", "")
	given.Status.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	tests := map[string]struct {
		op            admission.Operation
		subresource   string
		claim, before *corev1.PersistentVolumeClaim
		want          bool
	}{
		"a claim that is created":                 {op: admission.Create, claim: given, want: true},
		"a claim that is updated":                 {op: admission.Update, claim: given, before: given, want: true},
		"a status that says the same":             {op: admission.Update, subresource: "status", claim: given, before: given},
		"a status that says what was given":       {op: admission.Update, subresource: "status", claim: given, before: claimOf("gold", "", ""), want: true},
		"a status that says a class more":         {op: admission.Update, subresource: "status", claim: claimOf("gold", "silver", ""), before: claimOf("gold", "", ""), want: true},
		"a status that says the class wanted too": {op: admission.Update, subresource: "status", claim: claimOf("gold", "gold", ""), before: claimOf("gold", "", "")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := admission.NewAttributesRecord(test.claim, test.before, corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"), "ns", "claim",
				corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), test.subresource, test.op, nil, false, nil)
			if got := evaluatorOf(t, "persistentvolumeclaims").Handles(a); got != test.want {
				t.Errorf("counted: %v, want %v", got, test.want)
			}
		})
	}
}

func TestClaimsAreCountedInWholeBytes(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1500m")},
	}}}
	used, err := evaluatorOf(t, "persistentvolumeclaims").Usage(claim)
	if got := used[corev1.ResourceRequestsStorage]; err != nil || got.String() != "2" {
		t.Errorf("got %s (%v)", got.String(), err)
	}
	if own := claim.Spec.Resources.Requests[corev1.ResourceStorage]; own.String() != "1500m" {
		t.Errorf("the claim itself says %s now", own.String())
	}
}

func evaluatorOf(t *testing.T, resource string) quotav1.Evaluator {
	t.Helper()
	for _, e := range quota.Evaluators(nil) {
		if e.GroupResource() == corev1.Resource(resource) {
			return e
		}
	}
	t.Fatalf("nothing counts %s", resource)
	return nil
}

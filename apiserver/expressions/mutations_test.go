package expressions_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/skiffcluster/skiff/api/admissionregistration"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestMutationsAreCompiledAsTheirTypeSays(t *testing.T) {
	policies := kind(admissionregistration.MutatingAdmissionPolicy.Erase())
	without := admissionregistration.MutatingAdmissionPolicy.Erase()
	for _, c := range []struct {
		name     string
		mutation admissionregistrationv1.Mutation
		want     []string
	}{
		{
			"variables are an object when there are none",
			admissionregistrationv1.Mutation{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: "[JSONPatch{op: 'add', path: '/a', value: variables.num}]"},
			},
			[]string{`spec.mutations[0].jsonPatch.expression: Invalid value: "[JSONPatch{op: 'add', path: '/a', value: variables.num}]": compilation failed: ERROR: <input>:1:51: undefined field 'num'`},
		},
		{
			"what another type's is is not looked at",
			admissionregistrationv1.Mutation{
				PatchType:          admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: "Object{}"},
				JSONPatch:          &admissionregistrationv1.JSONPatch{Expression: "]"},
			},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &admissionregistrationv1.MutatingAdmissionPolicy{Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{Mutations: []admissionregistrationv1.Mutation{c.mutation}}}
			before := without.Validate(t.Context(), p.DeepCopy())
			got := policies.Validate(t.Context(), p)
			if len(got) < len(before) {
				t.Fatalf("%v, without expressions %v", got, before)
			}
			kindtest.Errors(t, got[len(before):], c.want...)
		})
	}
}

package admissionregistration

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	policy, binding := MutatingAdmissionPolicy.Erase(), MutatingAdmissionPolicyBinding.Erase()
	return []*api.Kind{
		policy, binding, MutatingWebhookConfiguration.Erase(),
		ValidatingAdmissionPolicy.Erase(), ValidatingAdmissionPolicyBinding.Erase(), ValidatingWebhookConfiguration.Erase(),
		policy.In("v1beta1"), binding.In("v1beta1"), policy.In("v1alpha1"), binding.In("v1alpha1"),
	}
}

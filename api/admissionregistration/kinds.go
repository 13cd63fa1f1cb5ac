package admissionregistration

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{
		MutatingAdmissionPolicy.Erase(), MutatingAdmissionPolicyBinding.Erase(), MutatingWebhookConfiguration.Erase(),
		ValidatingAdmissionPolicy.Erase(), ValidatingAdmissionPolicyBinding.Erase(), ValidatingWebhookConfiguration.Erase(),
	}
}

package webhooks

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// IssuingGroup is cert-manager's, whose objects ask for certificates.
const IssuingGroup = "cert-manager.io"

// Injection says whether an annotation has cert-manager's CA injector write a
// caBundle: cert-manager.io/inject-ca-from and its kin.
func Injection(annotation string) bool { return strings.HasPrefix(annotation, IssuingGroup+"/inject-") }

// WithoutIssuing leaves out what asks cert-manager for certificates, Issuers and
// Certificates, unless it comes with cert-manager's own definitions. It gives how
// many objects that were. kubebuilder's config/default has some, in place of which
// these commands make a certificate.
func WithoutIssuing(objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, int) {
	var out []*unstructured.Unstructured
	for _, o := range objs {
		if group, _, _ := unstructured.NestedString(o.Object, "spec", "group"); o.GroupVersionKind().GroupKind() == definition && group == IssuingGroup {
			return objs, 0
		}
		if o.GroupVersionKind().Group != IssuingGroup {
			out = append(out, o)
		}
	}
	return out, len(objs) - len(out)
}

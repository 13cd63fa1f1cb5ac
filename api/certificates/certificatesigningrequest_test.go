package certificates_test

import (
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/certificates"
)

func TestARequestHasOneVerdict(t *testing.T) {
	request := func(types ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
		r := &certificatesv1.CertificateSigningRequest{}
		for _, c := range types {
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: c, Status: "True"})
		}
		return r
	}
	of := func(errs field.ErrorList) string {
		for _, err := range errs {
			if err.Field == "status.conditions" {
				return err.Error()
			}
		}
		return ""
	}
	both := request(certificatesv1.CertificateApproved, certificatesv1.CertificateDenied)
	const want = "status.conditions: Invalid value: \"{conditions[{\\\"type\\\": \\\"Approved\\\"}], conditions[{\\\"type\\\": \\\"Denied\\\"}]}\": " +
		"must specify at most one of: `conditions[{\"type\": \"Approved\"}]`, `conditions[{\"type\": \"Denied\"}]`"
	if got := of(certificates.ValidateApproval(both, request(certificatesv1.CertificateApproved))); got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
	if got := of(certificates.ValidateApproval(both, both)); got != "" {
		t.Errorf("what was stored is refused: %s", got)
	}
}

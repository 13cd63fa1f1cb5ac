package certificates

import (
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// CertificateSigningRequest asks for a certificate. Who asks is written into
// spec by the API server; status is approved by its subresource approval and
// signed by its subresource status.
var CertificateSigningRequest = api.Of[certificatesv1.CertificateSigningRequest]{
	Group: certificatesv1.GroupName, Version: "v1", Kind: "CertificateSigningRequest", Resource: "certificatesigningrequests",
	ShortNames:    []string{"csr"},
	ClusterScoped: true,

	NameValidation: func(string, bool) []string { return nil },
	Reset:          []string{"spec"},
	PrepareUpdate: func(r, old *certificatesv1.CertificateSigningRequest) {
		r.Spec, r.Status = old.Spec, old.Status
	},
	ValidateCreate: func(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
		return validateRequest(r, tolerated{})
	},
	ValidateUpdate: func(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
		return validateChange(r, old, allowed{})
	},
	Status: &api.Status[certificatesv1.CertificateSigningRequest]{
		PrepareUpdate: func(r, old *certificatesv1.CertificateSigningRequest) {
			r.Spec = old.Spec
			stamp(r.Status.Conditions, old.Status.Conditions, metav1.Now())
		},
		Validate: func(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
			return validateChange(r, old, allowed{certificate: true})
		},
	},

	Fields: func(r *certificatesv1.CertificateSigningRequest) fields.Set {
		return fields.Set{"spec.signerName": r.Spec.SignerName}
	},
	Columns: []api.Column[certificatesv1.CertificateSigningRequest]{
		print.Name[certificatesv1.CertificateSigningRequest](),
		print.Age[certificatesv1.CertificateSigningRequest](),
		{
			Name: "SignerName", Description: certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()["signerName"],
			Value: func(r *certificatesv1.CertificateSigningRequest) any { return print.OrNone(r.Spec.SignerName) },
		},
		{
			Name: "Requestor", Description: certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()["request"],
			Value: func(r *certificatesv1.CertificateSigningRequest) any { return r.Spec.Username },
		},
		{
			Name: "RequestedDuration", Description: certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()["expirationSeconds"],
			Value: func(r *certificatesv1.CertificateSigningRequest) any {
				if r.Spec.ExpirationSeconds == nil {
					return print.None
				}
				return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
			},
		},
		{
			Name: "Condition", Description: certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"],
			Value: func(r *certificatesv1.CertificateSigningRequest) any { return condition(&r.Status) },
		},
	},
}

// ValidateApproval checks a change by the subresource approval.
func ValidateApproval(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validateChange(r, old, allowed{approval: true})
}

// condition tells how far a request is: "Approved,Issued".
func condition(s *certificatesv1.CertificateSigningRequestStatus) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range s.Conditions {
		has[c.Type] = true
	}
	var parts []string
	switch {
	case has[certificatesv1.CertificateDenied]:
		parts = append(parts, "Denied")
	case has[certificatesv1.CertificateApproved]:
		parts = append(parts, "Approved")
	default:
		parts = append(parts, "Pending")
	}
	if has[certificatesv1.CertificateFailed] {
		parts = append(parts, "Failed")
	}
	if len(s.Certificate) > 0 {
		parts = append(parts, "Issued")
	}
	return strings.Join(parts, ",")
}

// stamp gives new conditions their times.
func stamp(conditions, old []certificatesv1.CertificateSigningRequestCondition, now metav1.Time) {
	for i := range conditions {
		c := &conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
				c.LastTransitionTime = o.LastTransitionTime
				break
			}
		}
	}
}

// onlyTrue are the conditions that are there or not, and never false.
func onlyTrue(t certificatesv1.RequestConditionType) bool {
	return t == certificatesv1.CertificateApproved || t == certificatesv1.CertificateDenied || t == certificatesv1.CertificateFailed
}

func statusesOf(t certificatesv1.RequestConditionType) []corev1.ConditionStatus {
	if onlyTrue(t) {
		return []corev1.ConditionStatus{corev1.ConditionTrue}
	}
	return []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
}

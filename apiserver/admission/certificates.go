package admission

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const certificateRequests = "certificatesigningrequests"

// certificateApproval lets only those approve requests who may for the signer.
type certificateApproval struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (certificateApproval) Handles(op admission.Operation) bool { return op == admission.Update }

// Validate implements admission.ValidationInterface.
func (c certificateApproval) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	// The stored signer counts: an update cannot change it.
	csr, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || a.GetSubresource() != "approval" {
		return nil
	}
	if !maySigner(ctx, c.authorizer, a.GetUserInfo(), "approve", csr.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", csr.Spec.SignerName))
	}
	return nil
}

// certificateSigning lets only those sign requests who may for the signer.
type certificateSigning struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (certificateSigning) Handles(op admission.Operation) bool { return op == admission.Update }

// Validate implements admission.ValidationInterface.
func (c certificateSigning) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "status" {
		return nil
	}
	if old, ok := a.GetOldObject().(*certificatesv1beta1.PodCertificateRequest); ok {
		r, ok := a.GetObject().(*certificatesv1beta1.PodCertificateRequest)
		if !ok {
			return nil
		}
		return c.podCertificate(ctx, a, r, old)
	}
	old, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	csr, is := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || !is {
		return nil
	}
	if bytes.Equal(csr.Status.Certificate, old.Status.Certificate) && apiequality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions) {
		return nil
	}
	if !maySigner(ctx, c.authorizer, a.GetUserInfo(), "sign", old.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
	}
	return nil
}

// certificateSubject refuses client certificates that would be in the group
// which may do everything.
type certificateSubject struct{}

func (certificateSubject) Handles(op admission.Operation) bool { return op == admission.Create }

// Validate implements admission.ValidationInterface.
func (certificateSubject) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	csr, ok := of[certificatesv1.CertificateSigningRequest](a, certificateRequests)
	if !ok || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"))
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(request.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup))
	}
	return nil
}

// maySigner asks for a right on a signer, or on all of its domain.
func maySigner(ctx context.Context, a authorizer.UnconditionalAuthorizer, u user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := a.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// trustBundleAttest lets only those say whom the cluster trusts for a signer who
// may for the signer.
type trustBundleAttest struct {
	createOrUpdate
	authorizer authorizer.UnconditionalAuthorizer
}

// Validate implements admission.ValidationInterface.
func (t trustBundleAttest) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	bundle, ok := of[certificatesv1.ClusterTrustBundle](a, "clustertrustbundles")
	if !ok || bundle.Spec.SignerName == "" {
		return nil
	}
	if old, ok := a.GetOldObject().(*certificatesv1.ClusterTrustBundle); ok && onlyForGarbage(bundle, old) {
		return nil
	}
	if !maySigner(ctx, t.authorizer, a.GetUserInfo(), "attest", bundle.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName))
	}
	return nil
}

// onlyForGarbage says whether an update changes only what the garbage collector
// does: owners and finalizers.
func onlyForGarbage(now, old *certificatesv1.ClusterTrustBundle) bool {
	now = now.DeepCopy()
	now.OwnerReferences, now.Finalizers, now.ManagedFields = old.OwnerReferences, old.Finalizers, old.ManagedFields
	return apiequality.Semantic.DeepEqual(now, old)
}

package admission

import (
	"context"
	"fmt"
	"strings"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const podCertificateRequests = "podcertificaterequests"

// certificate lets an agent ask for certificates of the pods that are bound to
// its node, as these are, from the signers that they name. What may be because a
// cache is not up to date is an error that is tried again, not Forbidden.
func (n *nodeRestriction) certificate(ctx context.Context, node string, a admission.Attributes) error {
	forbid := func(format string, args ...any) error { return admission.NewForbidden(a, fmt.Errorf(format, args...)) }
	if a.GetOperation() != admission.Create {
		return forbid("unexpected operation %v", a.GetOperation())
	}
	if a.GetSubresource() != "" {
		return forbid("unexpected subresource %v", a.GetSubresource())
	}
	r, ok := a.GetObject().(*certificatesv1beta1.PodCertificateRequest)
	if !ok {
		return forbid("unexpected type %T", a.GetObject())
	}
	s, name := &r.Spec, a.GetNamespace()+"/"+r.Spec.PodName
	missing := func(what, name string, err error) error {
		err = fmt.Errorf("while retrieving %s %q named in the PodCertificateRequest: %w", what, name, err)
		if apierrors.IsNotFound(err) {
			return err
		}
		return admission.NewForbidden(a, err)
	}
	if string(s.NodeName) != node {
		return forbid("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", s.NodeName, node)
	}
	own, err := n.objects.Node(ctx, node)
	if err != nil {
		return missing("node", node, err)
	}
	if own.UID != s.NodeUID {
		return fmt.Errorf("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", name, s.NodeUID, own.UID)
	}
	pod, err := n.objects.Pod(ctx, a.GetNamespace(), s.PodName)
	if err != nil {
		return missing("pod", name, err)
	}
	switch {
	case pod.UID != s.PodUID:
		return fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", name, s.PodUID, pod.UID)
	case pod.Spec.NodeName != node:
		return forbid("pod %q is not running on node %q named in the PodCertificateRequest", name, s.NodeName)
	case isMirror(pod):
		return forbid("pod %q is a mirror pod", name)
	case pod.Spec.ServiceAccountName != s.ServiceAccountName:
		return forbid("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", name, s.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	account, err := n.objects.ServiceAccount(ctx, a.GetNamespace(), s.ServiceAccountName)
	if err != nil {
		return missing("service account", a.GetNamespace()+"/"+s.ServiceAccountName, err)
	}
	if account.UID != s.ServiceAccountUID {
		return fmt.Errorf("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", name, s.ServiceAccountUID, account.UID)
	}
	if mountsCertificateOf(pod, s.SignerName) || n.mayAsk(ctx, a, s) {
		return nil
	}
	return forbid("pod %q does not mount a podCertificate projected volume for signer %q", name, s.SignerName)
}

func mountsCertificateOf(pod *corev1.Pod, signer string) bool {
	for i := range pod.Spec.Volumes {
		if p := pod.Spec.Volumes[i].Projected; p != nil {
			for j := range p.Sources {
				if c := p.Sources[j].PodCertificate; c != nil && c.SignerName == signer {
					return true
				}
			}
		}
	}
	return false
}

// mayAsk says whether an agent was given the right to ask a signer for a service
// account's pods whatever they mount. Names of resources have no slashes.
func (n *nodeRestriction) mayAsk(ctx context.Context, a admission.Attributes, s *certificatesv1beta1.PodCertificateRequestSpec) bool {
	decision, _, err := n.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: "request-serviceaccounts-podcertificate-signer", Resource: strings.ReplaceAll(s.SignerName, "/", ":"),
		APIGroup: a.GetResource().Group, APIVersion: a.GetResource().Version, Namespace: a.GetNamespace(), Name: s.ServiceAccountName, ResourceRequest: true,
	})
	return err == nil && decision == authorizer.DecisionAllow
}

// podCertificate lets only those answer requests of pods who may sign for
// the signer; the answer is the one of Kubernetes' validation.
func (c certificateSigning) podCertificate(ctx context.Context, a admission.Attributes, r, old *certificatesv1beta1.PodCertificateRequest) error {
	signer, user := old.Spec.SignerName, a.GetUserInfo()
	if apiequality.Semantic.DeepEqual(r.Status, old.Status) || maySigner(ctx, c.authorizer, user, "sign", signer) {
		return nil
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), r.Name, field.ErrorList{
		field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", user.GetName(), signer)),
	})
}

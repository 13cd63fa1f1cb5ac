package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests/approval;certificatesigningrequests/status,verbs=update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=signers,verbs=approve;sign
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// askAgain is when a request that its sender may not make is looked at again:
// it may be given the right.
const askAgain = time.Minute

// Approver approves requests of node agents for client certificates.
type Approver struct {
	Client client.Client
}

// SetupWithManager adds the controller to mgr.
func (r *Approver) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("certificatesigningrequest-approving-controller").
		For(&certificatesv1.CertificateSigningRequest{}).
		Complete(r)
}

// Reconcile runs one turn for one request.
func (r *Approver) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, csr); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if len(csr.Status.Certificate) > 0 || has(csr, certificatesv1.CertificateApproved) || has(csr, certificatesv1.CertificateDenied) {
		return ctrl.Result{}, nil
	}
	request, err := parse(csr)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("parse certificate request %s: %w", csr.Name, err))
	}
	rights := planRights(csr, request)
	for _, right := range rights {
		allowed, err := r.ask(ctx, csr, right.subresource)
		if err != nil {
			return ctrl.Result{}, err
		}
		if allowed {
			return ctrl.Result{}, r.approve(ctx, csr, right.message)
		}
	}
	if len(rights) > 0 {
		klog.FromContext(ctx).V(1).Info("Request is a node agent's, but its sender may not make it", "CertificateSigningRequest", csr.Name, "username", csr.Spec.Username)
		return ctrl.Result{RequeueAfter: askAgain}, nil
	}
	return ctrl.Result{}, nil
}

// right is what the sender of a request must be allowed to create.
type right struct{ subresource, message string }

// planRights says by which rights a request could be approved, if any: an agent
// may renew its own certificate, and one that joins may ask for its first.
func planRights(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) []right {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || checkKubeletClient(request, csr.Spec.Usages) != nil {
		return nil
	}
	var rights []right
	if csr.Spec.Username == request.Subject.CommonName {
		rights = append(rights, right{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."})
	}
	return append(rights, right{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."})
}

func (r *Approver) ask(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range csr.Spec.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create", Subresource: subresource, Version: "*",
		},
	}}
	if err := r.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask for the rights of %s: %w", csr.Spec.Username, err)
	}
	return review.Status.Allowed, nil
}

func (r *Approver) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, message string) error {
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message,
	})
	err := r.Client.SubResource("approval").Update(ctx, csr)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // decided by another meanwhile, whose event follows
	}
	if err != nil {
		return fmt.Errorf("approve certificate request %s: %w", csr.Name, err)
	}
	klog.FromContext(ctx).Info("Approved certificate request", "CertificateSigningRequest", csr.Name, "username", csr.Spec.Username)
	return nil
}

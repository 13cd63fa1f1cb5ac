package certificates

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// PodCleaner deletes requests for pods' certificates when they are old: who
// still waits for an answer asks again.
type PodCleaner struct {
	Client client.Client
	Clock  clock.PassiveClock
}

// SetupWithManager adds the controller to mgr.
func (r *PodCleaner) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("podcertificaterequest-cleaner-controller").
		For(&certificatesv1.PodCertificateRequest{}).
		Complete(r)
}

// Reconcile deletes one request when its time has come.
func (r *PodCleaner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	request := &certificatesv1.PodCertificateRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, request); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if left := request.CreationTimestamp.Add(keepOfPods).Sub(r.Clock.Now()); left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	err := r.Client.Delete(ctx, request, client.Preconditions{UID: &request.UID})
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete pod certificate request %s: %w", req, err)
	}
	return ctrl.Result{}, nil
}

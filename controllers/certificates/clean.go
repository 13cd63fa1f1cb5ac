package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// How long requests are kept (upstream's numbers): those that were answered,
// and those that wait; and those of pods, whatever became of them.
const (
	keepAnswered = time.Hour
	keepWaiting  = 24 * time.Hour
	keepOfPods   = 30 * time.Minute
)

// Cleaner deletes requests that have served their time.
type Cleaner struct {
	Client client.Client
	Clock  clock.PassiveClock
}

// SetupWithManager adds the controller to mgr.
func (r *Cleaner) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("certificatesigningrequest-cleaner-controller").
		For(&certificatesv1.CertificateSigningRequest{}).
		Complete(r)
}

// Reconcile deletes one request when its time has come.
func (r *Cleaner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, csr); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if left := planEnd(csr).Sub(r.Clock.Now()); left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	err := r.Client.Delete(ctx, csr, client.Preconditions{UID: &csr.UID})
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete certificate request %s: %w", csr.Name, err)
	}
	return ctrl.Result{}, nil
}

// planEnd is when a request can go.
func planEnd(csr *certificatesv1.CertificateSigningRequest) time.Time {
	end := csr.CreationTimestamp.Add(keepWaiting)
	sooner := func(at time.Time) {
		if at.Before(end) {
			end = at
		}
	}
	if len(csr.Status.Conditions) > 0 {
		end = csr.Status.Conditions[0].LastUpdateTime.Add(keepWaiting)
	}
	for _, c := range csr.Status.Conditions {
		switch {
		case c.Type == certificatesv1.CertificateApproved && len(csr.Status.Certificate) == 0:
			sooner(c.LastUpdateTime.Add(keepWaiting))
		case c.Type == certificatesv1.CertificateApproved, c.Type == certificatesv1.CertificateDenied, c.Type == certificatesv1.CertificateFailed:
			sooner(c.LastUpdateTime.Add(keepAnswered))
		}
	}
	if block, _ := pem.Decode(csr.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			sooner(cert.NotAfter)
		}
	}
	return end
}

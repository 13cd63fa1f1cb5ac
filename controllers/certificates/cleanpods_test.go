package certificates_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers/certificates"
)

func TestRequestsOfPodsGoAfterHalfAnHour(t *testing.T) {
	c, ctx := clustertest.APIServer(t).Client(), t.Context()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	r := &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "req"},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/a", PodName: "p", PodUID: "p", NodeName: "n", NodeUID: "n", ServiceAccountName: "s", ServiceAccountUID: "s", StubPKCS10Request: proof,
		},
	}
	if err := c.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(r.CreationTimestamp.Add(29 * time.Minute))
	cleaner := &certificates.PodCleaner{Client: c, Clock: clock}
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r)}
	if result, err := cleaner.Reconcile(ctx, request); err != nil || result.RequeueAfter != time.Minute {
		t.Errorf("before its time: %+v, %v", result, err)
	}
	if err := c.Get(ctx, request.NamespacedName, r); err != nil {
		t.Errorf("it went before its time: %v", err)
	}
	clock.SetTime(r.CreationTimestamp.Add(30 * time.Minute))
	if result, err := cleaner.Reconcile(ctx, request); err != nil || result != (ctrl.Result{}) {
		t.Errorf("at its time: %+v, %v", result, err)
	}
	if err := c.Get(ctx, request.NamespacedName, r); !apierrors.IsNotFound(err) {
		t.Errorf("it stays: %v", err)
	}
	if _, err := cleaner.Reconcile(ctx, request); err != nil {
		t.Errorf("when it is gone: %v", err)
	}
}

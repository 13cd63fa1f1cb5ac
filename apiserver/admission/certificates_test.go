package admission_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// signingRequest asks for a client certificate.
func signingRequest(t *testing.T, name string, groups ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: groups}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			Username: "somebody else",
		},
	}
}

// as is a client of somebody with few rights.
func as(t *testing.T, c *clustertest.Cluster, user string) *kubernetes.Clientset {
	t.Helper()
	cfg := restclient.CopyConfig(c.RESTConfig())
	cfg.Impersonate = restclient.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// grant gives a user rights in the cluster and waits until they are in force.
func grant(t *testing.T, c *clustertest.Cluster, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	create(t, c.Client(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules})
	create(t, c.Client(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: user}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}},
	})
	eventually(t, "rights", func() error {
		_, err := as(t, c, user).CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
		return err
	})
}

func TestCertificatesAreApprovedAndSignedByThoseWhoMay(t *testing.T) {
	c := clustertest.APIServer(t)
	grant(t, c, "jane", rbacv1.PolicyRule{
		APIGroups: []string{"certificates.k8s.io"}, Verbs: []string{"*"},
		Resources: []string{"certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"},
	})
	jane := as(t, c, "jane").CertificatesV1().CertificateSigningRequests()
	ctx := context.Background()

	if _, err := jane.Create(ctx, signingRequest(t, "root", "system:masters"), metav1.CreateOptions{}); !strings.Contains(errText(err),
		"use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed") {
		t.Errorf("masters: %v", err)
	}
	csr, err := jane.Create(ctx, signingRequest(t, "jane"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if csr.Spec.Username != "jane" {
		t.Errorf("requestor %q", csr.Spec.Username)
	}
	verdict := []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	csr.Status.Conditions = verdict
	if _, err := jane.UpdateApproval(ctx, "jane", csr, metav1.UpdateOptions{}); !strings.Contains(errText(err),
		`user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`) {
		t.Errorf("approve: %v", err)
	}
	failed := csr.DeepCopy()
	failed.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue}}
	if _, err := jane.UpdateStatus(ctx, failed, metav1.UpdateOptions{}); !strings.Contains(errText(err), "user not permitted to sign requests") {
		t.Errorf("fail: %v", err)
	}
	admin, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	all := admin.CertificatesV1().CertificateSigningRequests()
	if _, err := all.UpdateStatus(ctx, csr, metav1.UpdateOptions{}); !strings.Contains(errText(err), `updates may not add a condition of type "Approved"`) {
		t.Errorf("approve by status: %v", err)
	}
	csr, err = all.UpdateApproval(ctx, "jane", csr, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(csr.Status.Conditions) != 1 || csr.Status.Conditions[0].LastUpdateTime.IsZero() || csr.Status.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("conditions %+v", csr.Status.Conditions)
	}
	csr.Status.Certificate = []byte("no certificate")
	if _, err := all.UpdateStatus(ctx, csr, metav1.UpdateOptions{}); !strings.Contains(errText(err), "must contain at least one CERTIFICATE PEM block") {
		t.Errorf("garbage: %v", err)
	}
}

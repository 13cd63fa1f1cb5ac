package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func request(change func(*x509.CertificateRequest)) *x509.CertificateRequest {
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}}
	if change != nil {
		change(r)
	}
	return r
}

var (
	clientUsages  = []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature}
	servingUsages = []certificatesv1.KeyUsage{certificatesv1.UsageKeyEncipherment, certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
)

func TestCheck(t *testing.T) {
	address := func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }
	for _, c := range []struct {
		name    string
		signer  string
		request *x509.CertificateRequest
		usages  []certificatesv1.KeyUsage
		known   bool
		want    string
	}{
		{"an agent's client certificate", certificatesv1.KubeAPIServerClientKubeletSignerName, request(nil), clientUsages, true, ""},
		{"one of another group", certificatesv1.KubeAPIServerClientKubeletSignerName, request(func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"system:nodes", "admins"} }), clientUsages, true, "subject organization is not system:nodes"},
		{"one of another user", certificatesv1.KubeAPIServerClientKubeletSignerName, request(func(r *x509.CertificateRequest) { r.Subject.CommonName = "jane" }), clientUsages, true, "subject common name does not begin with system:node:"},
		{"one with a name of a host", certificatesv1.KubeAPIServerClientKubeletSignerName, request(func(r *x509.CertificateRequest) { r.DNSNames = []string{"n1"} }), clientUsages, true, "DNS subjectAltNames are not allowed"},
		{"one that would serve", certificatesv1.KubeAPIServerClientKubeletSignerName, request(nil), servingUsages, true, "usages did not match [client auth digital signature key encipherment]"},
		{"an agent's serving certificate", certificatesv1.KubeletServingSignerName, request(address), servingUsages, true, ""},
		{"one for no host", certificatesv1.KubeletServingSignerName, request(nil), servingUsages, true, "DNS or IP subjectAltName is required"},
		{"any client's", certificatesv1.KubeAPIServerClientSignerName, request(func(r *x509.CertificateRequest) { r.Subject.CommonName = "jane" }), clientUsages, true, ""},
		{"a client's that would serve", certificatesv1.KubeAPIServerClientSignerName, request(nil), servingUsages, true, "invalid usage for client certificate: server auth"},
		{"a client's that is none", certificatesv1.KubeAPIServerClientSignerName, request(nil), clientUsages[1:], true, "missing required usage for client certificate: client auth"},
		{"anything of before", legacyUnknown, request(nil), servingUsages, true, ""},
		{"a signer of somebody else", "example.com/signer", request(nil), servingUsages, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			known, err := check(c.signer, c.request, c.usages)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if known != c.known || got != c.want {
				t.Errorf("known %t, %q; want %t, %q", known, got, c.known, c.want)
			}
		})
	}
}

func TestPlanRights(t *testing.T) {
	for _, c := range []struct {
		name, signer, user string
		want               []string
	}{
		{"an agent that joins", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:bootstrap:abc123", []string{"nodeclient"}},
		{"an agent that renews its own", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n1", []string{"selfnodeclient", "nodeclient"}},
		{"another signer", certificatesv1.KubeAPIServerClientSignerName, "system:node:n1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			rights := planRights(&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: c.signer, Username: c.user, Usages: clientUsages}}, request(nil))
			if len(rights) != len(c.want) {
				t.Fatalf("rights %v, want %v", rights, c.want)
			}
			for i := range rights {
				if rights[i].subresource != c.want[i] {
					t.Errorf("rights %v, want %v", rights, c.want)
				}
			}
		})
	}
}

func TestPlanDuration(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds *int32
		want    time.Duration
	}{
		{"nothing asked for is the most", nil, 24 * time.Hour},
		{"what is asked for", ptr.To[int32](3600), time.Hour},
		{"too much is the most", ptr.To[int32](100 * 3600), 24 * time.Hour},
		{"too little is ten minutes", ptr.To[int32](1), 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := planDuration(c.seconds, 24*time.Hour); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestPlanCertificate(t *testing.T) {
	end := epoch.Add(48 * time.Hour)
	long, err := planCertificate(request(nil), clientUsages, 100*time.Hour, end, epoch)
	if err != nil || !long.NotAfter.Equal(end) || !long.NotBefore.Equal(epoch.Add(-5*time.Minute)) {
		t.Errorf("valid from %s to %s (%v)", long.NotBefore, long.NotAfter, err)
	}
	if long.KeyUsage != x509.KeyUsageDigitalSignature || len(long.ExtKeyUsage) != 1 || long.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || long.IsCA {
		t.Errorf("certificate %+v", long)
	}
	brief, err := planCertificate(request(nil), clientUsages, time.Hour, end, epoch)
	if err != nil || brief.NotAfter.Sub(brief.NotBefore) != time.Hour {
		t.Errorf("valid for %s (%v)", brief.NotAfter.Sub(brief.NotBefore), err)
	}
	if _, err := planCertificate(request(nil), clientUsages, time.Hour, epoch, epoch); err == nil {
		t.Error("a CA that has ended signs")
	}
}

func TestPlanEnd(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, NotAfter: epoch.Add(time.Hour)}
	soon, err := Authority{ca, key}.sign(&x509.Certificate{NotBefore: epoch, NotAfter: epoch.Add(20 * time.Minute)}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(soon); block == nil {
		t.Fatal("no certificate")
	}
	for _, c := range []struct {
		name        string
		conditions  []certificatesv1.RequestConditionType
		certificate []byte
		want        time.Duration
	}{
		{"nobody answers", nil, nil, 24 * time.Hour},
		{"approved and not signed", []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, nil, 24 * time.Hour},
		{"denied", []certificatesv1.RequestConditionType{certificatesv1.CertificateDenied}, nil, time.Hour},
		{"failed", []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateFailed}, nil, time.Hour},
		{"signed", []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, []byte("x"), time.Hour},
		{"signed for a shorter time", []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, soon, 20 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(epoch)}}
			csr.Status.Certificate = c.certificate
			for _, kind := range c.conditions {
				csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(epoch)})
			}
			if got := planEnd(csr).Sub(epoch); got != c.want {
				t.Errorf("kept for %s, want %s", got, c.want)
			}
		})
	}
}

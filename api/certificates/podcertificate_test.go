package certificates_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/certificates"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func key(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issue makes a certificate of a key, signed by itself.
func issue(k *ecdsa.PrivateKey, from time.Time, life time.Duration, change func(*x509.Certificate)) string {
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.Add(life), BasicConstraintsValid: true}
	change(c)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(x509.CreateCertificate(rand.Reader, c, c, k.Public(), k))}))
}

func TestTrustBundles(t *testing.T) {
	k := key(t, elliptic.P256())
	ca := func(c *x509.Certificate) { c.IsCA = true }
	anchor, leaf := issue(k, time.Now(), time.Hour, ca), issue(k, time.Now(), time.Hour, func(*x509.Certificate) {})
	for _, c := range []struct {
		name, object, signer, text string
		want                       []string
	}{
		{"of nobody", "plain", "", anchor, nil},
		{"of a signer", "example.com:ca:one", "example.com/ca", anchor, nil},
		{"of nobody with a signer's name", "example.com:ca:one", "", anchor, []string{`metadata.name: Invalid value: "example.com:ca:one": ClusterTrustBundle without signer name must not have ":" in its name`}},
		{"of a signer without a name, which is told by others", "", "example.com/ca", anchor, nil},
		{"of a signer with another name", "one", "example.com/ca", anchor, []string{`metadata.name: Invalid value: "one": ClusterTrustBundle for signerName example.com/ca must be named with prefix example.com:ca:`}},
		{"empty", "a", "", "", []string{`spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`}},
		{"twice the same", "a", "", anchor + anchor, []string{`spec.trustBundle: Invalid value: "<value omitted>": duplicate trust anchor (indices [0 1])`}},
		{"no authority", "a", "", anchor + leaf, []string{`spec.trustBundle: Invalid value: "<value omitted>": entry 1 does not have the CA bit set`}},
		{
			"other blocks", "a", "", strings.ReplaceAll(anchor, "CERTIFICATE", "KEY") + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			[]string{`spec.trustBundle: Invalid value: "<value omitted>": entry 0 has bad block type: KEY`, `spec.trustBundle: Invalid value: "<value omitted>": entry 1 does not parse as X.509`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, certificates.ClusterTrustBundle.ValidateCreate(&certificatesv1.ClusterTrustBundle{
				ObjectMeta: metav1.ObjectMeta{Name: c.object}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: c.signer, TrustBundle: c.text},
			}), c.want...)
		})
	}
}

func TestPodCertificates(t *testing.T) {
	k, now := key(t, elliptic.P256()), time.Now().Truncate(time.Second).UTC()
	stub := func(k any) []byte {
		return must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}}, k))
	}
	made := func(change func(*certificatesv1beta1.PodCertificateRequest)) *certificatesv1beta1.PodCertificateRequest {
		r := &certificatesv1beta1.PodCertificateRequest{Spec: certificatesv1beta1.PodCertificateRequestSpec{
			SignerName: "example.com/ca", PodName: "p", PodUID: "u1", ServiceAccountName: "s", ServiceAccountUID: "u2", NodeName: "n", NodeUID: "u3",
			StubPKCS10Request: stub(k),
		}}
		certificates.PodCertificateRequest.Default(r)
		change(r)
		return r
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*certificatesv1beta1.PodCertificateRequest)
		want   []string
	}{
		{"a request", func(*certificatesv1beta1.PodCertificateRequest) {}, nil},
		{"a key and its proof", func(r *certificatesv1beta1.PodCertificateRequest) {
			r.Spec.StubPKCS10Request = nil
			r.Spec.PKIXPublicKey, r.Spec.ProofOfPossession = must(x509.MarshalPKIXPublicKey(public)), ed25519.Sign(private, []byte("u1"))
		}, nil},
		{"a proof of another pod", func(r *certificatesv1beta1.PodCertificateRequest) {
			r.Spec.StubPKCS10Request = nil
			r.Spec.PKIXPublicKey, r.Spec.ProofOfPossession = must(x509.MarshalPKIXPublicKey(public)), ed25519.Sign(private, []byte("u2"))
		}, []string{"spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature"}},
		{"no key", func(r *certificatesv1beta1.PodCertificateRequest) { r.Spec.StubPKCS10Request = nil }, []string{"spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"}},
		{"a weak curve", func(r *certificatesv1beta1.PodCertificateRequest) {
			r.Spec.StubPKCS10Request = stub(key(t, elliptic.P224()))
		}, []string{
			`spec.stubPKCS10Request: Invalid value: "curve P-224": elliptic public keys must use curve P256 or P384`,
		}},
		{"a signer of ours signs for a day", func(r *certificatesv1beta1.PodCertificateRequest) {
			r.Spec.SignerName, r.Spec.MaxExpirationSeconds = "kubernetes.io/kube-apiserver-client-pod", ptr.To[int32](86401)
		}, []string{"spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"}},
		{"of nobody", func(r *certificatesv1beta1.PodCertificateRequest) { r.Spec.PodName, r.Spec.PodUID = "", "" }, []string{
			`spec.podName: Invalid value: "": a lowercase RFC 1123 subdomain`, `spec.podUID: Invalid value: "": must not be empty`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, certificates.PodCertificateRequest.ValidateCreate(made(c.change)), c.want...)
		})
	}

	plain := func(*x509.Certificate) {}
	end := func(how string, change func(*certificatesv1beta1.PodCertificateRequestStatus)) *certificatesv1beta1.PodCertificateRequest {
		return made(func(r *certificatesv1beta1.PodCertificateRequest) {
			r.Status.Conditions = []metav1.Condition{{Type: how, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.NewTime(now)}}
			if how == "Issued" {
				r.Status.CertificateChain = issue(k, now, 2*time.Hour, plain)
				r.Status.NotBefore, r.Status.NotAfter = ptr.To(metav1.NewTime(now)), ptr.To(metav1.NewTime(now.Add(2*time.Hour)))
				r.Status.BeginRefreshAt = ptr.To(metav1.NewTime(now.Add(time.Hour)))
			}
			change(&r.Status)
		})
	}
	nothing := func(*certificatesv1beta1.PodCertificateRequestStatus) {}
	open := made(func(*certificatesv1beta1.PodCertificateRequest) {})
	for _, c := range []struct {
		name     string
		obj, old *certificatesv1beta1.PodCertificateRequest
		want     []string
	}{
		{"issued", end("Issued", nothing), open, nil},
		{"denied", end("Denied", nothing), open, nil},
		{"ended twice", end("Failed", nothing), end("Denied", nothing), []string{"status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"}},
		{"denied with a certificate", end("Denied", func(s *certificatesv1beta1.PodCertificateRequestStatus) { s.CertificateChain = "x" }), open, []string{
			"status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest",
		}},
		{"in no way", end("Lost", nothing), open, []string{`status.conditions[0].type: Unsupported value: "Lost": supported values: "Issued", "Denied", "Failed"`}},
		{"a certificate of another key", end("Issued", func(s *certificatesv1beta1.PodCertificateRequestStatus) {
			s.CertificateChain = issue(key(t, elliptic.P256()), now, 2*time.Hour, plain)
		}), open, []string{"status.certificateChain: Invalid value"}},
		{"a time that is not the certificate's", end("Issued", func(s *certificatesv1beta1.PodCertificateRequestStatus) {
			s.NotAfter = ptr.To(metav1.NewTime(now.Add(3 * time.Hour)))
		}), open, []string{"status.notAfter: Invalid value"}},
		{"too late a renewal", end("Issued", func(s *certificatesv1beta1.PodCertificateRequestStatus) { s.BeginRefreshAt = s.NotAfter }), open, []string{"status.beginRefreshAt: Invalid value"}},
		{"bad names", end("Issued", func(s *certificatesv1beta1.PodCertificateRequestStatus) {
			s.CertificateChain = issue(k, now, 2*time.Hour, func(c *x509.Certificate) { c.DNSNames = []string{"a..b"} })
		}), open, []string{`status.certificateChain: Invalid value: "a..b": leaf certificate's DNSName should not contain '..'`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, certificates.PodCertificateRequest.Status.Validate(c.obj, c.old), c.want...)
		})
	}
}

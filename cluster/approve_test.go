package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCheckServing(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeHostName, Address: "w1.example"},
	}}}
	for _, c := range []struct {
		name   string
		change func(*certificatesv1.CertificateSigningRequest, *x509.CertificateRequest)
		want   string
	}{
		{"a node for its own name and address", nil, ""},
		{"another node's agent", func(s *certificatesv1.CertificateSigningRequest, _ *x509.CertificateRequest) {
			s.Spec.Username = "system:node:w2"
		}, "is not the node's agent"},
		{"a user who is called so", func(s *certificatesv1.CertificateSigningRequest, _ *x509.CertificateRequest) {
			s.Spec.Groups = nil
		}, "is not the node's agent"},
		{"for another name of subject", func(_ *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) {
			r.Subject.CommonName = "kube-apiserver"
		}, "it is for CN=kube-apiserver"},
		{"for an address of somebody else", func(_ *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) {
			r.IPAddresses = append(r.IPAddresses, net.IPv4(10, 0, 0, 1))
		}, "address 10.0.0.1 is not the node's"},
		{"for a name of somebody else", func(_ *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) {
			r.DNSNames = append(r.DNSNames, "kubernetes")
		}, "name kubernetes is not the node's"},
		{"for a mail address", func(_ *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) {
			r.EmailAddresses = []string{"a@b"}
		}, "names of other kinds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			csr := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
				Username: "system:node:w1", Groups: []string{"system:nodes", "system:authenticated"},
			}}
			r := &x509.CertificateRequest{
				Subject:  pkix.Name{CommonName: "system:node:w1", Organization: []string{"system:nodes"}},
				DNSNames: []string{"w1", "w1.example"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 7)},
			}
			if c.change != nil {
				c.change(csr, r)
			}
			der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
			if err != nil {
				t.Fatal(err)
			}
			csr.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
			got := ""
			if err := checkServing(csr, node); err != nil {
				got = err.Error()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestVersionSkew(t *testing.T) {
	for _, c := range []struct {
		version       string
		master, agent string
	}{
		{"v1.37.0", "", ""},
		{"v1.36.9", "", ""},
		{"v1.38.0", "", "it must not be newer"},
		{"v1.35.1", "at most one minor version apart", ""},
		{"v1.34.1", "at most one minor version apart", ""},
		{"v1.33.1", "at most one minor version apart", "at most three minor versions older"},
		{"v2.37.0", "at most one minor version apart", "it must not be newer"},
		{"new", "version \"new\"", "version \"new\""},
	} {
		for who, check := range map[string]struct {
			err  error
			want string
		}{"master": {checkMasterVersion(c.version), c.master}, "agent": {checkAgentVersion(c.version), c.agent}} {
			got := ""
			if check.err != nil {
				got = check.err.Error()
			}
			if (got == "") != (check.want == "") || !strings.Contains(got, check.want) {
				t.Errorf("%s of %s: %q, want %q", who, c.version, got, check.want)
			}
		}
	}
}

func TestSharedFilesAreThoseOfTheCluster(t *testing.T) {
	dir := t.TempDir()
	c := &Cluster{config: Config{DataDir: dir}}
	c.config.complete()
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.pki.SigningKey("sa"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.pki.Client("admin", "admin"); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(c.dir("pki", "ca.crt.new"), []byte("half")); err != nil {
		t.Fatal(err)
	}
	got, err := sharedFiles(c.dir())
	if err != nil || len(got) != 3 || got["pki/ca.crt"] == nil || got["pki/ca.key"] == nil || got["pki/sa.key"] == nil {
		t.Errorf("%d files, %v", len(got), err)
		for name := range got {
			t.Log(name)
		}
	}
}

//go:build linux

package volume_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent/volume"
)

// authority makes the certificate of a CA.
func authority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTrustBundles(t *testing.T) {
	c := clustertest.APIServer(t)
	a, b, shared, later := authority(t, "a"), authority(t, "b"), authority(t, "shared"), authority(t, "later")
	const signer = "example.com/signer"
	bundle := func(name, signer, certificates string, labels map[string]string) *certificatesv1.ClusterTrustBundle {
		o := &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: certificates},
		}
		if err := c.Client().Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	alone := bundle("alone", "", a, nil)
	bundle("example.com:signer:live", signer, a+shared, map[string]string{"stage": "live"})
	bundle("example.com:signer:test", signer, b+"text between\n"+shared, map[string]string{"stage": "test"})
	bundle("example.com:other:live", "example.com/other", later, map[string]string{"stage": "live"})

	clock := clocktesting.NewFakeClock(time.Now())
	v, err := volume.New(volume.Config{DataDir: t.TempDir(), REST: c.RESTConfig(), Objects: newStore(), Clock: clock, Unprivileged: true})
	if err != nil {
		t.Fatal(err)
	}
	prepare := func(t *testing.T, s corev1.ClusterTrustBundleProjection) (string, error) {
		s.Path = "ca.pem"
		pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &s}},
		}}})
		if err := v.Prepare(t.Context(), pod); err != nil {
			return "", err
		}
		dir, err := v.Path(t.Context(), pod, "v")
		return filepath.Join(dir, "ca.pem"), err
	}
	all := &metav1.LabelSelector{}
	for _, c := range []struct {
		name string
		s    corev1.ClusterTrustBundleProjection
		want []string
		err  string
	}{
		{"one by its name", corev1.ClusterTrustBundleProjection{Name: ptr("alone")}, []string{a}, ""},
		{"all of a signer, each certificate once", corev1.ClusterTrustBundleProjection{SignerName: ptr(signer), LabelSelector: all}, []string{a, b, shared}, ""},
		{"those of a signer with labels", corev1.ClusterTrustBundleProjection{SignerName: ptr(signer), LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "live"}}}, []string{a, shared}, ""},
		{
			"no selector selects none", corev1.ClusterTrustBundleProjection{SignerName: ptr(signer)},
			nil, "combination of signerName and labelSelector matched zero ClusterTrustBundles",
		},
		{"none need not be there when it is optional", corev1.ClusterTrustBundleProjection{SignerName: ptr(signer), Optional: ptr(true)}, nil, ""},
		{"a name that there is not", corev1.ClusterTrustBundleProjection{Name: ptr("gone")}, nil, `clustertrustbundles.certificates.k8s.io "gone" not found`},
		{"a name that there need not be", corev1.ClusterTrustBundleProjection{Name: ptr("gone"), Optional: ptr(true)}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, err := prepare(t, c.s)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil || strings.Count(string(data), "BEGIN") != len(c.want) {
				t.Errorf("%s (%v)", data, err)
			}
			for _, certificate := range c.want {
				if !strings.Contains(string(data), certificate) {
					t.Errorf("%s is missing in %s", certificate, data)
				}
			}
		})
	}

	t.Run("a pod that runs sees what changes", func(t *testing.T) {
		file, err := prepare(t, corev1.ClusterTrustBundleProjection{Name: ptr("alone")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		defer func() { cancel(); <-done }()
		alone.Spec.TrustBundle = later
		if err := c.Client().Update(ctx, alone); err != nil {
			t.Fatal(err)
		}
		eventually(t, "Run waits for the time", clock.HasWaiters)
		clock.Step(time.Minute)
		eventually(t, "the file has the other certificate", func() bool {
			clock.Step(time.Second) // a timer that was set while the clock stepped rings later
			data, err := os.ReadFile(file)
			return err == nil && string(data) == later
		})
	})
}

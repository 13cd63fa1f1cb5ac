package webhooks

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/pki"
)

// Certificate is a server's in the cluster, with what vouches for it; all PEM.
type Certificate struct{ CA, Cert, Key []byte }

// caKey is where cert-manager, too, keeps the CA in a Secret.
const caKey = "ca.crt"

// ReadCertificate gives the one in a Secret, or none.
func ReadCertificate(ctx context.Context, k kubernetes.Interface, namespace, name string) (Certificate, error) {
	s, err := k.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Certificate{}, nil
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate of the webhooks: %w", err)
	}
	return Certificate{CA: s.Data[caKey], Cert: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey]}, nil
}

// For gives the certificate itself when it serves for these names, else
// another, whose CA signs nothing else and is forgotten.
func (c Certificate) For(hosts []string) (Certificate, error) {
	if c.serves(hosts) {
		return c, nil
	}
	store, err := pki.Open("", clock.RealClock{})
	if err != nil {
		return Certificate{}, err
	}
	leaf, err := store.Serving("webhooks", pkix.Name{CommonName: "webhooks"}, hosts...)
	if err != nil {
		return Certificate{}, err
	}
	p := leaf.Current()
	return Certificate{CA: store.CA(), Cert: p.Cert, Key: p.Key}, nil
}

// renewBefore is how long a certificate must still serve to be kept.
const renewBefore = 30 * 24 * time.Hour

func (c Certificate) serves(hosts []string) bool {
	block, _ := pem.Decode(c.Cert)
	roots := x509.NewCertPool()
	if block == nil || len(c.Key) == 0 || !roots.AppendCertsFromPEM(c.CA) {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	for _, h := range hosts {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: h, Roots: roots, CurrentTime: time.Now().Add(renewBefore)}); err != nil {
			return false
		}
	}
	return true
}

// Secret is where a server's pods find the certificate.
func (c Certificate) Secret(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": string(corev1.SecretTypeTLS),
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"data": map[string]any{
			caKey:                   base64.StdEncoding.EncodeToString(c.CA),
			corev1.TLSCertKey:       base64.StdEncoding.EncodeToString(c.Cert),
			corev1.TLSPrivateKeyKey: base64.StdEncoding.EncodeToString(c.Key),
		},
	}}
}

// Services gives the names of the services that the webhooks among objs ask, and
// of the objects that have such webhooks.
func Services(objs []*unstructured.Unstructured) (hosts, asking []string, err error) {
	for _, o := range objs {
		hooks, err := hooksOf(o)
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		before := len(hosts)
		for _, hook := range hooks {
			if name, found, _ := unstructured.NestedString(hook, "clientConfig", "service", "name"); found {
				namespace, _, _ := unstructured.NestedString(hook, "clientConfig", "service", "namespace")
				hosts = append(hosts, name+"."+namespace+".svc")
			}
		}
		if len(hosts) > before {
			asking = append(asking, nameOf(o))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), asking, nil
}

// Trust has the webhooks among objs that ask a service trust a CA (PEM). It
// gives the names of what changed.
func Trust(objs []*unstructured.Unstructured, ca []byte) ([]string, error) {
	return eachClient(objs, func(config map[string]any) bool {
		if config["service"] == nil {
			return false
		}
		config["caBundle"] = base64.StdEncoding.EncodeToString(ca)
		return true
	})
}

package podcertificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// issued is what a signer gave, with the key that it was asked for: PEM.
type issued struct {
	key, chain       []byte
	refresh, expires time.Time
}

// refusal is a signer's last word.
type refusal struct {
	condition string // Denied or Failed
	message   string
	event     string
}

func (r *refusal) Error() string { return r.message }

// ask makes a key and a request, and waits for the answer.
func (i *Issuer) ask(ctx context.Context, pod *corev1.Pod, wanted *corev1.PodCertificateProjection) (*issued, error) {
	account, err := i.cfg.Client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("while fetching service account: %w", err)
	}
	node := i.cfg.Node()
	if node == nil {
		return nil, errors.New("this node is not registered")
	}
	key, proof, err := newKey(wanted.KeyType)
	if err != nil {
		return nil, fmt.Errorf("while generating keypair: %w", err)
	}
	request := planRequest(pod, account.UID, node, wanted, proof)
	request, err = i.cfg.Client.CertificatesV1().PodCertificateRequests(pod.Namespace).Create(ctx, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	if request, err = i.answered(ctx, request); err != nil {
		return nil, err
	}
	return planAnswer(request, key)
}

// planRequest asks for a certificate for a pod. It goes with the pod.
func planRequest(pod *corev1.Pod, account types.UID, node *corev1.Node, wanted *corev1.PodCertificateProjection, proof []byte) *certificatesv1.PodCertificateRequest {
	return &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: wanted.SignerName,
			PodName:    pod.Name, PodUID: pod.UID,
			ServiceAccountName: pod.Spec.ServiceAccountName, ServiceAccountUID: account,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID,
			MaxExpirationSeconds: wanted.MaxExpirationSeconds, StubPKCS10Request: proof, UnverifiedUserAnnotations: wanted.UserAnnotations,
		},
	}
}

// answered waits until a request has its answer.
func (i *Issuer) answered(ctx context.Context, request *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	requests := i.cfg.Client.CertificatesV1().PodCertificateRequests(request.Namespace)
	// Agents may watch the requests of their own node only.
	selector := fields.Set{"metadata.name": request.Name, "spec.nodeName": string(request.Spec.NodeName)}.String()
	watcher := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = selector
		return requests.Watch(ctx, o)
	}}
	event, err := watchtools.Until(ctx, request.ResourceVersion, watcher, func(e watch.Event) (bool, error) {
		r, ok := e.Object.(*certificatesv1.PodCertificateRequest)
		return e.Type == watch.Deleted || ok && verdict(r) != nil, nil
	})
	if err == nil {
		if r, ok := event.Object.(*certificatesv1.PodCertificateRequest); ok && event.Type != watch.Deleted {
			return r, nil
		}
		return nil, fmt.Errorf("PodCertificateRequest %q appears to have been deleted", request.Namespace+"/"+request.Name)
	}
	// What was watched from may be too old by now: look once, and else ask anew.
	list, listErr := requests.List(ctx, metav1.ListOptions{FieldSelector: selector})
	if listErr == nil && len(list.Items) == 1 && verdict(&list.Items[0]) != nil {
		return &list.Items[0], nil
	}
	return nil, fmt.Errorf("while watching PodCertificateRequest %q: %w", request.Namespace+"/"+request.Name, errors.Join(err, listErr))
}

// verdict is the condition that ends a request, nil while it waits.
func verdict(r *certificatesv1.PodCertificateRequest) *metav1.Condition {
	for i := range r.Status.Conditions {
		switch c := &r.Status.Conditions[i]; c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued,
			certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
			return c
		}
	}
	return nil
}

// planAnswer takes what was issued, or gives a *refusal.
func planAnswer(r *certificatesv1.PodCertificateRequest, key []byte) (*issued, error) {
	v := verdict(r)
	name := r.Namespace + "/" + r.Name
	switch v.Type {
	case certificatesv1.PodCertificateRequestConditionTypeDenied:
		return nil, &refusal{
			condition: v.Type, message: fmt.Sprintf("PodCertificateRequest was permanently denied: reason=%q message=%q", v.Reason, v.Message),
			event: fmt.Sprintf("PodCertificateRequest %s was denied, reason=%q, message=%q", name, v.Reason, v.Message),
		}
	case certificatesv1.PodCertificateRequestConditionTypeFailed:
		return nil, &refusal{
			condition: v.Type, message: fmt.Sprintf("PodCertificateRequest was permanently failed: reason=%q message=%q", v.Reason, v.Message),
			event: fmt.Sprintf("PodCertificateRequest %s failed, reason=%q, message=%q", name, v.Reason, v.Message),
		}
	}
	if r.Status.BeginRefreshAt == nil || r.Status.NotAfter == nil {
		return nil, fmt.Errorf("PodCertificateRequest %q was issued without its times", name)
	}
	return &issued{
		key: key, chain: certificatesOf(r.Status.CertificateChain),
		refresh: r.Status.BeginRefreshAt.Time, expires: r.Status.NotAfter.Time,
	}, nil
}

// certificatesOf drops what stands between and in front of certificates.
func certificatesOf(chain string) []byte {
	var out []byte
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
	}
}

// newKey makes a private key in PEM, and an empty signing request (DER) that
// proves it.
func newKey(kind string) (key, proof []byte, err error) {
	signer, err := generate(kind)
	if err != nil {
		return nil, nil, err
	}
	if proof, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer); err != nil {
		return nil, nil, fmt.Errorf("sign request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), proof, nil
}

// generate makes a key of one of the kinds that pods may ask for.
func generate(kind string) (crypto.Signer, error) {
	switch kind {
	case "RSA3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown key type %q", kind)
}

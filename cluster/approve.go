package cluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// approver approves the serving certificates that node agents ask for, which
// Kubernetes leaves to the cluster's maker: an agent may have one for its own
// name and the addresses of its Node. Every master runs one; the first wins.
type approver struct {
	client  kubernetes.Interface
	pending cache.Store
	wake    chan struct{}
}

// approveEvery is how often requests are looked at again whose Node is not
// there yet.
const approveEvery = time.Second

// startApprover runs it, where nodes may come from other machines.
func (c *Cluster) startApprover(ctx context.Context) error {
	if !c.config.ApproveServing {
		return nil
	}
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return err
	}
	return c.run(ctx, "approver", &approver{client: k, wake: make(chan struct{}, 1)})
}

// Ready implements component.
func (*approver) Ready() <-chan struct{} { return always }

// Run implements component.
func (a *approver) Run(ctx context.Context) error {
	wake := func(any) {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(a.client.CertificatesV1().RESTClient(), "certificatesigningrequests", "",
			fields.OneTermEqualSelector("spec.signerName", certificatesv1.KubeletServingSignerName)),
		ObjectType: &certificatesv1.CertificateSigningRequest{},
		Handler:    cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }},
	})
	a.pending = store
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	defer func() { <-done }()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-again:
		}
		again = nil
		if waiting := a.look(ctx); waiting {
			again = time.After(approveEvery)
		}
	}
}

// look says whether a request is left that may be approved later.
func (a *approver) look(ctx context.Context) (waiting bool) {
	for _, o := range a.pending.List() {
		csr := o.(*certificatesv1.CertificateSigningRequest)
		if len(csr.Status.Conditions) > 0 {
			continue
		}
		name := strings.TrimPrefix(csr.Spec.Username, "system:node:")
		node, err := a.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			waiting = true
			continue
		}
		if err == nil {
			if no := checkServing(csr, node); no != nil {
				klog.FromContext(ctx).V(1).Info("Serving certificate is not approved", "CertificateSigningRequest", csr.Name, "reason", no)
				waiting = true
				continue
			}
			err = a.approve(ctx, csr)
		}
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Serving certificate is not approved", "CertificateSigningRequest", csr.Name)
			waiting = true
		}
	}
	return waiting
}

func (a *approver) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	csr = csr.DeepCopy()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved",
		Message: "Auto approving kubelet serving certificate for the addresses of its Node.",
	})
	_, err := a.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // another master was faster
	}
	return err
}

// checkServing says why a node may not have a serving certificate.
func checkServing(csr *certificatesv1.CertificateSigningRequest, node *corev1.Node) error {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return errors.New("the request is no PEM")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	switch {
	case !slices.Contains(csr.Spec.Groups, user.NodesGroup) || csr.Spec.Username != "system:node:"+node.Name:
		return fmt.Errorf("%s is not the node's agent", csr.Spec.Username)
	case r.Subject.CommonName != csr.Spec.Username || !slices.Equal(r.Subject.Organization, []string{user.NodesGroup}):
		return fmt.Errorf("it is for %s", r.Subject)
	case len(r.EmailAddresses)+len(r.URIs) > 0:
		return errors.New("it has names of other kinds than hosts")
	}
	names, addresses := []string{node.Name}, []net.IP{}
	for _, a := range node.Status.Addresses {
		names = append(names, a.Address)
		if ip := net.ParseIP(a.Address); ip != nil {
			addresses = append(addresses, ip)
		}
	}
	for _, n := range r.DNSNames {
		if !slices.Contains(names, n) {
			return fmt.Errorf("name %s is not the node's", n)
		}
	}
	for _, ip := range r.IPAddresses {
		if !slices.ContainsFunc(addresses, ip.Equal) {
			return fmt.Errorf("address %s is not the node's", ip)
		}
	}
	return nil
}

package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// What a node agent is named in its certificates
// (https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers).
const (
	nodesGroup     = "system:nodes"
	nodeUserPrefix = "system:node:"
)

// parse reads the PEM block of a request.
func parse(csr *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func has(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

func checkNode(request *x509.CertificateRequest) error {
	if !slices.Equal(request.Subject.Organization, []string{nodesGroup}) {
		return errors.New("subject organization is not system:nodes")
	}
	return nil
}

func checkNodeName(request *x509.CertificateRequest) error {
	if !strings.HasPrefix(request.Subject.CommonName, nodeUserPrefix) {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// checkKubeletClient says why a request is none for an agent's client
// certificate.
func checkKubeletClient(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNode(request); err != nil {
		return err
	}
	switch {
	case len(request.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed") //nolint:revive // as users know it
	case len(request.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := checkNodeName(request); err != nil {
		return err
	}
	return checkUsages(usages, certificatesv1.UsageClientAuth)
}

// checkKubeletServing says why a request is none for an agent's serving
// certificate.
func checkKubeletServing(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNode(request); err != nil {
		return err
	}
	switch {
	case len(request.DNSNames) == 0 && len(request.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed") //nolint:revive // as users know it
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := checkUsages(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	return checkNodeName(request)
}

// checkUsages wants a digital signature and one purpose; only RSA keys encipher
// keys.
func checkUsages(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	given := slices.Compact(slices.Sorted(slices.Values(usages)))
	want := slices.Sorted(slices.Values([]certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, purpose}))
	withRSA := slices.Sorted(slices.Values(append(slices.Clone(want), certificatesv1.UsageKeyEncipherment)))
	if !slices.Equal(given, want) && !slices.Equal(given, withRSA) {
		return fmt.Errorf("usages did not match %v", withRSA)
	}
	return nil
}

// checkClient says why a request is none for a certificate that the API server
// takes from a client.
func checkClient(usages []certificatesv1.KeyUsage) error {
	authenticates := false
	for _, usage := range usages {
		switch usage {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			authenticates = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", usage)
		}
	}
	if !authenticates {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// check says why a request does not fit its signer; known is false for signers
// that are not the cluster's.
func check(signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) (known bool, err error) {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName:
		return true, checkClient(usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return true, checkKubeletClient(request, usages)
	case certificatesv1.KubeletServingSignerName:
		return true, checkKubeletServing(request, usages)
	case legacyUnknown:
		return true, nil
	}
	return false, nil
}

// legacyUnknown signs anything; the stable API has no name for it and nobody
// can ask for it there, but requests of the beta API may be stored.
const legacyUnknown = "kubernetes.io/legacy-unknown"

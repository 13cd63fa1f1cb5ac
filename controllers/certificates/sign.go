package certificates

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// minDuration is the least that a certificate is valid for (upstream's
	// number, which the API documents).
	minDuration = 10 * time.Minute

	// backdate allows for clocks that differ between hosts. It lengthens a
	// certificate's life, but not that of one for less than short.
	backdate = 5 * time.Minute
	short    = 8 * time.Hour
)

// Signer signs approved requests with the cluster's CA.
type Signer struct {
	Client client.Client
	Clock  clock.PassiveClock

	// CA signs; its certificate and key are PEM.
	CA Authority
	// Duration is the longest that a certificate is valid for.
	Duration time.Duration
}

// Authority is a certificate with its key.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// ParseAuthority reads a certificate and its key, both PEM.
func ParseAuthority(cert, key []byte) (Authority, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return Authority{}, fmt.Errorf("parse the certificate and key that sign: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return Authority{}, fmt.Errorf("parse the key that signs: a key of type %T cannot sign", pair.PrivateKey)
	}
	return Authority{pair.Leaf, signer}, nil
}

// SetupWithManager adds the controller to mgr.
func (r *Signer) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("certificatesigningrequest-signing-controller").
		For(&certificatesv1.CertificateSigningRequest{}).
		Complete(r)
}

// Reconcile runs one turn for one request.
func (r *Signer) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, csr); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !has(csr, certificatesv1.CertificateApproved) || has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed) || len(csr.Status.Certificate) > 0 {
		return ctrl.Result{}, nil
	}
	request, err := parse(csr)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("parse certificate request %s: %w", csr.Name, err))
	}
	known, err := check(csr.Spec.SignerName, request, csr.Spec.Usages)
	switch {
	case !known:
		return ctrl.Result{}, nil
	case err != nil:
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(),
		})
	default:
		template, err := planCertificate(request, csr.Spec.Usages, planDuration(csr.Spec.ExpirationSeconds, r.Duration), r.CA.Certificate.NotAfter, r.Clock.Now())
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("sign certificate request %s: %w", csr.Name, err)
		}
		if csr.Status.Certificate, err = r.CA.sign(template, request.PublicKey); err != nil {
			return ctrl.Result{}, fmt.Errorf("sign certificate request %s: %w", csr.Name, err)
		}
	}
	err = r.Client.Status().Update(ctx, csr)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return ctrl.Result{}, nil // changed by another meanwhile, whose event follows
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("update status of certificate request %s: %w", csr.Name, err)
	}
	klog.FromContext(ctx).Info("Answered certificate request", "CertificateSigningRequest", csr.Name, "signer", csr.Spec.SignerName, "isSigned", len(csr.Status.Certificate) > 0)
	return ctrl.Result{}, nil
}

func (a Authority) sign(template *x509.Certificate, key any) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key, a.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// planDuration is how long a certificate is to be valid: what is asked for, but
// no longer than most and not too short.
func planDuration(seconds *int32, most time.Duration) time.Duration {
	if seconds == nil {
		return most
	}
	return min(most, max(minDuration, time.Duration(*seconds)*time.Second))
}

// planCertificate is what to sign: all that is asked for, until the CA itself
// ends.
func planCertificate(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, duration time.Duration, end, now time.Time) (*x509.Certificate, error) {
	if !now.Before(end) {
		return nil, fmt.Errorf("the signer has expired: NotAfter=%v", end)
	}
	template := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(duration), BasicConstraintsValid: true,
	}
	if duration < short {
		template.NotAfter = template.NotAfter.Add(-backdate)
	}
	if template.NotAfter.After(end) {
		template.NotAfter = end
	}
	for _, usage := range usages {
		key, isKey := keyUsages[usage]
		extended, isExtended := extendedUsages[usage]
		if !isKey && !isExtended {
			return nil, errors.New("unrecognized usage values: " + string(usage))
		}
		template.KeyUsage |= key
		if isExtended {
			template.ExtKeyUsage = append(template.ExtKeyUsage, extended)
		}
	}
	return template, nil
}

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
	certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
	certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
	certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
	certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
	certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
	certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"net/mail"
	"strconv"
	"strings"
	"time"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxChain = 100 << 10        // bytes of PEM
	skew     = 5 * time.Minute  // between a signer's clock and ours
	margin   = 10 * time.Minute // before and after which a certificate is renewed
)

// verdicts are the ends of a request.
var verdicts = []string{
	certificatesv1beta1.PodCertificateRequestConditionTypeIssued, certificatesv1beta1.PodCertificateRequestConditionTypeDenied,
	certificatesv1beta1.PodCertificateRequestConditionTypeFailed,
}

// verdict is how a request ended; empty: not yet.
func verdict(r *certificatesv1beta1.PodCertificateRequest) string {
	for _, v := range verdicts {
		for _, c := range r.Status.Conditions {
			if c.Type == v && c.Status == metav1.ConditionTrue {
				return v
			}
		}
	}
	return ""
}

// checkPodCertificate checks a signer's answer, which is given once.
func checkPodCertificate(r, old *certificatesv1beta1.PodCertificateRequest) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	checkVerdict(&e, r.Status.Conditions, fld.Child("conditions"))
	if e.Len() > 0 {
		return e.List()
	}
	unchanged := func(want certificatesv1beta1.PodCertificateRequestStatus, message string) {
		if !apiequality.Semantic.DeepEqual(r.Status, want) {
			e.Invalid(fld, field.OmitValueType{}, message)
		}
	}
	switch now := verdict(r); {
	case verdict(old) != "":
		unchanged(old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	case now == certificatesv1beta1.PodCertificateRequestConditionTypeIssued:
		if err := issued(r, fld); err != nil {
			return append(e.List(), err)
		}
	case now != "":
		unchanged(certificatesv1beta1.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
			"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
	default:
		unchanged(old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	}
	return e.List()
}

func checkVerdict(e *validate.Errors, conditions []metav1.Condition, fld *field.Path) {
	known := 0
	for i, c := range conditions {
		before := e.Len()
		validate.Enum(e, fld.Index(i).Child("type"), c.Type, verdicts...)
		if e.Len() > before {
			continue
		}
		if known++; known > 1 {
			e.Invalid(fld.Index(i).Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
		}
		validate.Enum(e, fld.Index(i).Child("status"), c.Status, metav1.ConditionTrue)
	}
	e.Add(metav1validation.ValidateConditions(conditions, fld))
}

// issued finds the first fault of a certificate that was issued.
func issued(r *certificatesv1beta1.PodCertificateRequest, fld *field.Path) *field.Error {
	s, at := &r.Status, fld.Child("certificateChain")
	chain := func(message string) *field.Error { return field.Invalid(at, s.CertificateChain, message) }
	if len(s.CertificateChain) > maxChain {
		return field.TooLong(at, "", maxChain)
	}
	block, rest := pem.Decode([]byte(s.CertificateChain))
	if block == nil {
		return chain("issued certificate chain must contain at least one certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	switch {
	case block.Type != "CERTIFICATE":
		return chain("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	case err != nil:
		return chain("leaf certificate does not parse as valid X.509")
	case !keyOf(&r.Spec, leaf):
		return chain("leaf certificate was not issued to the requested public key")
	}
	if err := namesOf(leaf, at); err != nil {
		return err
	}
	if err := timesOf(s, leaf, time.Duration(ptr.Deref(r.Spec.MaxExpirationSeconds, 0))*time.Second, fld); err != nil {
		return err
	}
	for block, rest = pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return chain("issued certificate chain must consist entirely of CERTFICATE PEM blocks")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return chain("intermediate certificate does not parse as valid X.509")
		}
	}
	return nil
}

// keyOf says whether a certificate is of the key that was asked for.
func keyOf(s *certificatesv1beta1.PodCertificateRequestSpec, leaf *x509.Certificate) bool {
	var key any
	if request, err := x509.ParseCertificateRequest(s.StubPKCS10Request); err == nil {
		key = request.PublicKey
	} else if key, err = x509.ParsePKIXPublicKey(s.PKIXPublicKey); err != nil {
		return false
	}
	return samePublicKey(leaf.PublicKey, key)
}

// samePublicKey compares keys by what they look like in a certificate.
func samePublicKey(a, b any) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func namesOf(leaf *x509.Certificate, at *field.Path) *field.Error {
	for _, name := range leaf.DNSNames {
		switch {
		case name == "":
			return field.Invalid(at, name, "leaf certificate should not contain empty DNSName")
		case strings.Contains(name, ".."):
			return field.Invalid(at, name, "leaf certificate's DNSName should not contain '..'")
		case strings.HasPrefix(name, "."), strings.HasSuffix(name, "."):
			return field.Invalid(at, name, "leaf certificate's DNSName should not start or end with '.'")
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			return field.Invalid(at, address, "leaf certificate should not contain invalid EmailAddress")
		}
	}
	return nil
}

// timesOf checks that the status says what the certificate does, and that the
// certificate is of now and no longer than was asked for.
func timesOf(s *certificatesv1beta1.PodCertificateRequestStatus, leaf *x509.Certificate, most time.Duration, fld *field.Path) *field.Error {
	begin, end, renew := fld.Child("notBefore"), fld.Child("notAfter"), fld.Child("beginRefreshAt")
	switch {
	case s.NotBefore == nil:
		return field.Required(begin, "must be present and consistent with the issued certificate")
	case s.NotAfter == nil:
		return field.Required(end, "must be present and consistent with the issued certificate")
	case s.BeginRefreshAt == nil:
		return field.Required(renew, "must be present and in the range [notbefore+10min, notafter-10min]")
	}
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	for _, c := range []struct {
		wrong   bool
		at      *field.Path
		value   any
		message string
	}{
		{!s.NotBefore.Time.Equal(leaf.NotBefore), begin, s.NotBefore.Time, "must be set to the NotBefore time encoded in the leaf certificate"},
		{time.Since(leaf.NotBefore).Abs() >= skew, begin, s.NotBefore.Time, "must be set to within 5 minutes of kube-apiserver's current time"},
		{!s.NotAfter.Time.Equal(leaf.NotAfter), end, s.NotAfter.Time, "must be set to the NotAfter time encoded in the leaf certificate"},
		{lifetime < time.Hour, fld.Child("certificateChain"), lifetime, "leaf certificate lifetime must be >= 1 hour"},
		{
			lifetime > most, fld.Child("certificateChain"), lifetime,
			"leaf certificate lifetime must be <= spec.maxExpirationSeconds (" + strconv.Itoa(int(most/time.Second)) + ")",
		},
		{s.BeginRefreshAt.Time.Before(s.NotBefore.Add(margin)), renew, s.BeginRefreshAt.Time, "must be at least 10 minutes after status.notBefore"},
		{s.BeginRefreshAt.Time.After(s.NotAfter.Add(-margin)), renew, s.BeginRefreshAt.Time, "must be at least 10 minutes before status.notAfter"},
	} {
		if c.wrong {
			return field.Invalid(c.at, c.value, c.message)
		}
	}
	return nil
}

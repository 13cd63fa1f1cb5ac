package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	legacySigner = "kubernetes.io/legacy-unknown"
	minSeconds   = 600
)

// usages that may be asked for, as errors list them.
var usages = slices.Sorted(slices.Values([]certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem,
	certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME,
	certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}))

// tolerated are faults that a request may keep because it had them before.
type tolerated struct{ bothVerdicts, legacySigner, twice, untyped, certificate, usageTwice, usageUnknown bool }

// allowed is what an update may change.
type allowed struct{ approval, certificate bool }

func faultsOf(r, old *certificatesv1.CertificateSigningRequest) tolerated {
	t := tolerated{
		bothVerdicts: len(ofType(old, certificatesv1.CertificateApproved)) > 0 && len(ofType(old, certificatesv1.CertificateDenied)) > 0,
		legacySigner: old.Spec.SignerName == legacySigner,
		certificate:  bytes.Equal(r.Status.Certificate, old.Status.Certificate) || checkPEM(old.Status.Certificate) != nil,
	}
	seen := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range old.Status.Conditions {
		t.twice = t.twice || seen[c.Type]
		t.untyped = t.untyped || c.Type == ""
		seen[c.Type] = true
	}
	asked := map[certificatesv1.KeyUsage]bool{}
	for _, u := range old.Spec.Usages {
		t.usageTwice = t.usageTwice || asked[u]
		t.usageUnknown = t.usageUnknown || !slices.Contains(usages, u)
		asked[u] = true
	}
	return t
}

func ofType(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, c)
		}
	}
	return out
}

func validateRequest(r *certificatesv1.CertificateSigningRequest, t tolerated) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	if err := checkPKCS10(r.Spec.Request); err != nil {
		e.Invalid(fld.Child("request"), r.Spec.Request, err.Error())
	}
	if len(r.Spec.Usages) == 0 {
		e.Required(fld.Child("usages"), "")
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, u := range r.Spec.Usages {
		if !t.usageUnknown {
			validate.Enum(&e, fld.Child("usages").Index(i), u, usages...)
		}
		if seen[u] && !t.usageTwice {
			e.Duplicate(fld.Child("usages").Index(i), u)
		}
		seen[u] = true
	}
	if !t.legacySigner && r.Spec.SignerName == legacySigner {
		e.Invalid(fld.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		checkSigner(&e, r.Spec.SignerName, fld.Child("signerName"))
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < minSeconds {
		e.Invalid(fld.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	checkConditions(&e, r.Status.Conditions, t, field.NewPath("status", "conditions"))
	if !t.certificate {
		if err := checkPEM(r.Status.Certificate); err != nil {
			e.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error())
		}
	}
	return e.List()
}

func checkConditions(e *validate.Errors, conditions []certificatesv1.CertificateSigningRequestCondition, t tolerated, fld *field.Path) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range conditions {
		p := fld.Index(i)
		if c.Type == "" && !t.untyped {
			e.Required(p.Child("type"), "")
		}
		validate.RequiredEnum(e, p.Child("status"), c.Status, statusesOf(c.Type)...)
		if seen[c.Type] && !t.twice {
			e.Duplicate(p.Child("type"), c.Type)
		}
		seen[c.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] && !t.bothVerdicts {
		const approved, denied = `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`
		e.Declared().Invalid(fld, "{"+approved+", "+denied+"}", "must specify at most one of: `"+approved+"`, `"+denied+"`")
	}
}

func validateChange(r, old *certificatesv1.CertificateSigningRequest, may allowed) field.ErrorList {
	var e validate.Errors
	e.Add(validateRequest(r, faultsOf(r, old)))
	fld := field.NewPath("status", "conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		now, was := ofType(r, t), ofType(old, t)
		verdict := t != certificatesv1.CertificateFailed
		switch {
		case len(now) < len(was):
			e.Forbidden(fld, fmt.Sprintf("updates may not remove a condition of type %q", t))
		case may.approval || !verdict:
		case len(now) > len(was):
			e.Forbidden(fld, fmt.Sprintf("updates may not add a condition of type %q", t))
		case !apiequality.Semantic.DeepEqual(now, was):
			e.Forbidden(fld, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, diff.Diff(was, now)))
		}
	}
	if !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		p := field.NewPath("status", "certificate")
		if !may.certificate {
			e.Forbidden(p, "updates may not set certificate content")
		} else if len(old.Status.Certificate) > 0 {
			e.Forbidden(p, "updates may not modify existing certificate content")
		}
	}
	return e.List()
}

// checkPKCS10 checks that a request is one and signed by its key.
func checkPKCS10(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return r.CheckSignature()
}

// checkPEM checks that data is empty or certificates and nothing else.
func checkPEM(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// checkSigner checks a name such as example.com/serving.
func checkSigner(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Required(fld, "")
		return
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		e.Invalid(fld, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		e.TooLong(fld, validation.DNS1123SubdomainMaxLength)
	}
	labels := strings.Split(domain, ".")
	checkLabels(e, domain, labels, validation.IsDNS1123Label, fld)
	if len(labels) < 2 {
		e.Invalid(fld, domain, "should be a domain with at least two segments separated by dots")
	}
	checkLabels(e, path, strings.Split(path, "."), validation.IsDNS1123Subdomain, fld)
	const most = validation.DNS1123SubdomainMaxLength*2 + validation.DNS1123LabelMaxLength + 2
	if len(name) > most {
		e.TooLong(fld, most)
	}
}

// checkLabels reports the first that is bad.
func checkLabels(e *validate.Errors, value string, labels []string, check func(string) []string, fld *field.Path) {
	for _, l := range labels {
		msgs := check(l)
		for _, m := range msgs {
			e.Invalid(fld, value, fmt.Sprintf("validating label %q: %s", l, m))
		}
		if len(msgs) > 0 {
			return
		}
	}
}

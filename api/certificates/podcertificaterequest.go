package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxUID      = 128
	maxKey      = 10 << 10
	shortest    = 3600           // seconds a certificate may be asked for
	longest     = 91 * 24 * 3600 // the same
	longestOurs = 24 * 3600      // by signers of kubernetes.io
)

// PodCertificateRequest asks for a certificate for a pod. It is worked on in
// its beta's Go type, which can also hold a key beside a signing request.
var PodCertificateRequest = api.Of[certificatesv1beta1.PodCertificateRequest]{
	Group: certificatesv1beta1.GroupName, Version: "v1beta1", Kind: "PodCertificateRequest", Resource: "podcertificaterequests",
	NoUnconditionalUpdate: true,

	Default: func(r *certificatesv1beta1.PodCertificateRequest) {
		if r.Spec.MaxExpirationSeconds == nil {
			r.Spec.MaxExpirationSeconds = ptr.To[int32](longestOurs)
		}
	},
	ValidateCreate: checkPodRequest,
	ValidateUpdate: func(r, old *certificatesv1beta1.PodCertificateRequest) field.ErrorList {
		return apivalidation.ValidateImmutableField(r.Spec, old.Spec, field.NewPath("spec"))
	},
	Status: &api.Status[certificatesv1beta1.PodCertificateRequest]{KeepMetadata: true, Validate: checkPodCertificate},

	Fields: func(r *certificatesv1beta1.PodCertificateRequest) fields.Set {
		return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
	},
	Columns: []api.Column[certificatesv1beta1.PodCertificateRequest]{
		print.Name[certificatesv1beta1.PodCertificateRequest](),
		podRequestColumn("PodName", "podName", func(s *certificatesv1beta1.PodCertificateRequestSpec) string { return s.PodName }),
		podRequestColumn("ServiceAccountName", "serviceAccountName", func(s *certificatesv1beta1.PodCertificateRequestSpec) string { return s.ServiceAccountName }),
		podRequestColumn("NodeName", "nodeName", func(s *certificatesv1beta1.PodCertificateRequestSpec) string { return string(s.NodeName) }),
		podRequestColumn("SignerName", "signerName", func(s *certificatesv1beta1.PodCertificateRequestSpec) string { return s.SignerName }),
		{
			Name: "State", Description: "Is the request Pending, Issued, Denied, or Failed?",
			Value: func(r *certificatesv1beta1.PodCertificateRequest) any {
				if v := verdict(r); v != "" {
					return v
				}
				return "Pending"
			},
		},
		podRequestColumn("UnverifiedUserAnnotations", "unverifiedUserAnnotations", func(s *certificatesv1beta1.PodCertificateRequestSpec) string {
			return labels.FormatLabels(s.UnverifiedUserAnnotations)
		}),
	},
}

func podRequestColumn(name, of string, value func(*certificatesv1beta1.PodCertificateRequestSpec) string) api.Column[certificatesv1beta1.PodCertificateRequest] {
	return api.Column[certificatesv1beta1.PodCertificateRequest]{
		Name: name, Description: certificatesv1beta1.PodCertificateRequestSpec{}.SwaggerDoc()[of],
		Value: func(r *certificatesv1beta1.PodCertificateRequest) any { return value(&r.Spec) },
	}
}

func checkPodRequest(r *certificatesv1beta1.PodCertificateRequest) field.ErrorList {
	var e validate.Errors
	s, fld := &r.Spec, field.NewPath("spec")
	checkSigner(&e, s.SignerName, fld.Child("signerName"))
	checkUserAnnotations(&e, s.UnverifiedUserAnnotations, fld.Child("unverifiedUserAnnotations"))
	for _, o := range []struct{ name, uid, of string }{
		{s.PodName, string(s.PodUID), "pod"},
		{s.ServiceAccountName, string(s.ServiceAccountUID), "serviceAccount"},
		{string(s.NodeName), string(s.NodeUID), "node"},
	} {
		e.Messages(fld.Child(o.of+"Name"), o.name, apivalidation.NameIsDNSSubdomain(o.name, false))
		switch p := fld.Child(o.of + "UID"); {
		case o.uid == "":
			e.Invalid(p, o.uid, "must not be empty")
		case len(o.uid) > maxUID:
			e.TooLong(p, maxUID)
		}
	}
	most := int32(longest)
	if domain, _, _ := strings.Cut(s.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
		most = longestOurs
	}
	if n := s.MaxExpirationSeconds; n == nil {
		e.Required(fld.Child("maxExpirationSeconds"), "must be set")
	} else if *n < shortest || *n > most {
		e.Invalidf(fld.Child("maxExpirationSeconds"), *n, "must be in the range [%d, %d]", shortest, most)
	}
	checkPossession(&e, s, fld)
	return e.List()
}

// checkUserAnnotations checks annotations that must say whose they are.
func checkUserAnnotations(e *validate.Errors, annotations map[string]string, fld *field.Path) {
	e.Add(apivalidation.ValidateAnnotations(annotations, fld))
	for _, key := range validate.Keys(annotations) {
		e.Add(validation.IsDomainPrefixedKey(fld.Key(key), key))
	}
}

// checkPossession checks that whoever asks has the private key.
func checkPossession(e *validate.Errors, s *certificatesv1beta1.PodCertificateRequestSpec, fld *field.Path) {
	if len(s.StubPKCS10Request) > 0 {
		p := fld.Child("stubPKCS10Request")
		switch request, err := x509.ParseCertificateRequest(s.StubPKCS10Request); {
		case len(s.StubPKCS10Request) > maxKey:
			e.TooLong(p, maxKey)
		case err != nil:
			e.Invalid(p, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		case request.CheckSignature() != nil:
			e.Invalid(p, field.OmitValueType{}, "could not verify the signature of the certificate signing request")
		default:
			checkKey(e, request.PublicKey, p)
		}
		if len(s.PKIXPublicKey) > 0 {
			e.Forbidden(fld.Child("pkixPublicKey"), "may not be set when stubPKCS10Request is set")
		}
		if len(s.ProofOfPossession) > 0 {
			e.Forbidden(fld.Child("proofOfPossession"), "may not be set when stubPKCS10Request is set")
		}
		return
	}
	if len(s.PKIXPublicKey) == 0 && len(s.ProofOfPossession) == 0 {
		e.Invalid(fld, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")
		return
	}
	p, proof := fld.Child("pkixPublicKey"), fld.Child("proofOfPossession")
	if len(s.PKIXPublicKey) > maxKey {
		e.TooLong(p, maxKey)
		return
	}
	if len(s.ProofOfPossession) > maxKey {
		e.TooLong(proof, maxKey)
		return
	}
	key, err := x509.ParsePKIXPublicKey(s.PKIXPublicKey)
	if err != nil {
		e.Invalid(p, s.PKIXPublicKey, "must be a valid PKIX-serialized public key")
		return
	}
	if checkKey(e, key, p) && !proven(key, []byte(s.PodUID), s.ProofOfPossession) {
		e.Invalid(proof, field.OmitValueType{}, "could not verify proof-of-possession signature")
	}
}

// checkKey refuses weak keys and unknown ones.
func checkKey(e *validate.Errors, key any, p *field.Path) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return true
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			e.Invalid(p, "curve "+k.Curve.Params().Name, "elliptic public keys must use curve P256 or P384")
			return false
		}
		return true
	case *rsa.PublicKey:
		if bits := k.Size() * 8; bits != 3072 && bits != 4096 {
			e.Invalid(p, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")
			return false
		}
		return true
	}
	e.Invalid(p, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")
	return false
}

// proven checks the signature of a pod's UID.
func proven(key any, message, signature []byte) bool {
	hash := sha256.Sum256(message)
	switch k := key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, hash[:], signature)
	case *rsa.PublicKey:
		return rsa.VerifyPSS(k, crypto.SHA256, hash[:], signature, nil) == nil
	}
	return false
}

package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// maxBundleSize is the most bytes of certificates in a bundle: 1 MiB.
const maxBundleSize = 1 << 20

// ClusterTrustBundle holds certificates of authorities that pods can trust.
var ClusterTrustBundle = api.Of[certificatesv1.ClusterTrustBundle]{
	Group: certificatesv1.GroupName, Version: "v1", Kind: "ClusterTrustBundle", Resource: "clustertrustbundles",
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	// The name depends on the signer, see checkBundle.
	NameValidation: func(string, bool) []string { return nil },
	ValidateCreate: func(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
		return checkBundle(b, &certificatesv1.ClusterTrustBundle{})
	},
	ValidateUpdate: func(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
		return append(checkBundle(b, old),
			apivalidation.ValidateImmutableField(b.Spec.SignerName, old.Spec.SignerName, field.NewPath("spec", "signerName"))...)
	},

	Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
		return fields.Set{"spec.signerName": b.Spec.SignerName}
	},
	Columns: []api.Column[certificatesv1.ClusterTrustBundle]{
		print.Name[certificatesv1.ClusterTrustBundle](),
		{
			Name: "SignerName", Description: certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"],
			Value: func(b *certificatesv1.ClusterTrustBundle) any { return print.OrNone(b.Spec.SignerName) },
		},
	},
}

func checkBundle(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	var e validate.Errors
	name, at, signer := b.Name, field.NewPath("metadata", "name"), b.Spec.SignerName
	switch prefix := strings.ReplaceAll(signer, "/", ":") + ":"; {
	case name == "": // which is told of all kinds
	case signer == "" && strings.Contains(name, ":"):
		e.Invalid(at, name, `ClusterTrustBundle without signer name must not have ":" in its name`)
	case signer != "" && !strings.HasPrefix(name, prefix):
		e.Invalidf(at, name, "ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)
	default:
		e.Messages(at, name, apivalidation.NameIsDNSSubdomain(strings.TrimPrefix(name, prefix), false))
	}
	if signer != "" {
		checkSigner(&e, signer, field.NewPath("spec", "signerName"))
	}
	if b.Spec.TrustBundle != old.Spec.TrustBundle || old.Spec.TrustBundle == "" {
		checkAnchors(&e, b.Spec.TrustBundle, field.NewPath("spec", "trustBundle"))
	}
	return e.List()
}

// checkAnchors checks that text is PEM of authorities' certificates, each once.
func checkAnchors(e *validate.Errors, text string, fld *field.Path) {
	if len(text) > maxBundleSize {
		e.TooLong(fld, maxBundleSize)
		return
	}
	faults := e.Len()
	wrong := func(format string, args ...any) { e.Invalidf(fld, "<value omitted>", format, args...) }
	places := map[string][]int{}
	var order []string
	i := 0
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		switch c, err := x509.ParseCertificate(block.Bytes); {
		case block.Type != "CERTIFICATE":
			wrong("entry %d has bad block type: %v", i, block.Type)
		case len(block.Headers) > 0:
			wrong("entry %d has PEM block headers", i)
		case err != nil:
			wrong("entry %d does not parse as X.509", i)
		case !c.IsCA:
			wrong("entry %d does not have the CA bit set", i)
		case !c.BasicConstraintsValid:
			wrong("entry %d has invalid basic constraints", i)
		default:
			if key := string(block.Bytes); places[key] == nil {
				order = append(order, key)
			}
			places[string(block.Bytes)] = append(places[string(block.Bytes)], i)
		}
		i++
	}
	if e.Len() > faults {
		return
	}
	if len(order) == 0 {
		wrong("at least one trust anchor must be provided")
	}
	for _, key := range order {
		if at := places[key]; len(at) > 1 {
			wrong("duplicate trust anchor (indices %v)", at)
		}
	}
}

package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// projection is one projected volume under validation: its sources share one
// directory, so that no two may write the same file.
type projection struct {
	*podSpec
	fld   *field.Path
	files sets.Set[string]
}

// file reports a file that another source of the volume writes as well. who is
// the value that Kubernetes shows: the source's object, or the path.
func (v *projection) file(path, who string) {
	if v.files.Has(path) {
		v.Invalid(v.fld, who, "conflicting duplicate paths")
	}
	v.files.Insert(path)
}

func (s *podSpec) checkProjected(source *corev1.ProjectedVolumeSource, fld *field.Path) {
	s.FileMode(fld.Child("defaultMode"), source.DefaultMode)
	v := &projection{podSpec: s, fld: fld, files: sets.New[string]()}
	for i := range source.Sources {
		v.checkSource(&source.Sources[i], fld.Child("sources").Index(i))
	}
}

func (v *projection) checkSource(from *corev1.VolumeProjection, p *field.Path) {
	n := 0
	if o := from.Secret; o != nil {
		n++
		v.checkObject(o.Name, o.Items, p.Child("secret"))
	}
	if o := from.ConfigMap; o != nil {
		n++
		v.checkObject(o.Name, o.Items, p.Child("configMap"))
	}
	if d := from.DownwardAPI; d != nil {
		n++
		for i := range d.Items {
			v.checkFieldFile(&d.Items[i], p.Child("downwardAPI"))
			if path := d.Items[i].Path; path != "" {
				v.file(path, path)
			}
		}
	}
	if t := from.ServiceAccountToken; t != nil {
		n++
		v.checkToken(t, p.Child("serviceAccountToken"))
	}
	if b := from.ClusterTrustBundle; b != nil {
		n++
		v.checkTrustBundle(b, p.Child("clusterTrustBundle"))
	}
	if c := from.PodCertificate; c != nil {
		n++
		v.checkCertificate(c, p.Child("podCertificate"))
	}
	if n > 1 {
		v.Forbidden(p, "may not specify more than 1 volume type per source")
	}
}

func (v *projection) checkObject(name string, items []corev1.KeyToPath, p *field.Path) {
	v.Text(p.Child("name"), name)
	for i, item := range items {
		v.checkItem(item, p.Child("items").Index(i))
		if item.Path != "" {
			v.file(item.Path, name)
		}
	}
}

// How long a projected token may live, in seconds: at least ten minutes
// (https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken).
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

func (v *projection) checkToken(t *corev1.ServiceAccountTokenProjection, p *field.Path) {
	at := p.Child("expirationSeconds")
	switch e := t.ExpirationSeconds; {
	case e == nil:
		v.Required(at, "")
	case *e < minTokenSeconds:
		v.Invalid(at, *e, "may not specify a duration less than 10 minutes")
	case *e > maxTokenSeconds:
		v.Invalid(at, *e, "may not specify a duration larger than 2^32 seconds")
	}
	// The path is named without its source, as Kubernetes does.
	if t.Path == "" {
		v.Required(v.fld.Child("path"), "")
	} else {
		v.checkFilePath(v.fld.Child("path"), t.Path)
	}
}

// checkTrustBundle checks CA certificates that are chosen by the name of one
// ClusterTrustBundle, or by a signer and labels.
func (v *projection) checkTrustBundle(b *corev1.ClusterTrustBundleProjection, p *field.Path) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		v.Invalid(p, b, "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			v.Required(p.Child("name"), "must be a valid object name")
		}
		for _, m := range trustBundleName(*b.Name) {
			v.Invalidf(p.Child("name"), *b.Name, "not a valid clustertrustbundlename: %v", m)
		}
		if b.LabelSelector != nil {
			v.Invalid(p.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			v.Required(p.Child("signerName"), "must be a valid signer name")
		}
		v.checkSigner(p.Child("signerName"), *b.SignerName)
		v.Add(metav1validation.ValidateLabelSelector(b.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, p.Child("labelSelector")))
	default:
		v.Required(p, "either name or signerName must be specified")
	}
	v.Text(p.Child("path"), b.Path)
	v.checkFilePath(p.Child("path"), b.Path)
	v.file(b.Path, b.Path)
}

// trustBundleName tells what is wrong with a name. The bundle of a signer has
// the signer in its name: example.com:signer:name.
func trustBundleName(name string) []string {
	return apivalidation.NameIsDNSSubdomain(name[strings.LastIndex(name, ":")+1:], false)
}

// maxSignerName has room for a domain and the namespace and name of an object:
// <domain>/<namespace>.<name>.
const maxSignerName = validation.DNS1123SubdomainMaxLength + 1 +
	validation.DNS1123LabelMaxLength + 1 + validation.DNS1123SubdomainMaxLength

// checkSigner checks the name of a signer of certificates, example.com/name.
func (v *projection) checkSigner(p *field.Path, name string) {
	if name == "" {
		v.Required(p, "")
		return
	}
	domain, path, found := strings.Cut(name, "/")
	if !found || strings.Contains(path, "/") {
		v.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		v.TooLong(p, validation.DNS1123SubdomainMaxLength)
	}
	v.checkLabels(p, domain, validation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		v.Invalid(p, domain, "should be a domain with at least two segments separated by dots")
	}
	v.checkLabels(p, path, validation.IsDNS1123Subdomain)
	if len(name) > maxSignerName {
		v.TooLong(p, maxSignerName)
	}
}

// checkLabels reports the first part between dots that check does not accept;
// the others would say the same again.
func (v *projection) checkLabels(p *field.Path, value string, check func(string) []string) {
	for label := range strings.SplitSeq(value, ".") {
		if msgs := check(label); len(msgs) > 0 {
			for _, m := range msgs {
				v.Invalidf(p, value, "validating label %q: %s", label, m)
			}
			return
		}
	}
}

// How long a pod's certificate may be asked to live, in seconds: an hour to 91
// days, for signers of Kubernetes itself to one day.
const (
	minCertificateSeconds     = 3600
	maxCertificateSeconds     = 91 * 24 * 3600
	maxKubeCertificateSeconds = 24 * 3600
)

func (v *projection) checkCertificate(c *corev1.PodCertificateProjection, p *field.Path) {
	v.checkSigner(p.Child("signerName"), c.SignerName)
	v.checkUserAnnotations(c.UserAnnotations, p.Child("userAnnotations"))
	validate.Enum(&v.Errors, p.Child("keyType"), c.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if m := c.MaxExpirationSeconds; m != nil {
		at, limit := p.Child("maxExpirationSeconds"), int32(maxCertificateSeconds)
		if domain, _, _ := strings.Cut(c.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
			limit = maxKubeCertificateSeconds
		}
		if *m < minCertificateSeconds {
			v.Invalidf(at, *m, "if provided, maxExpirationSeconds must be >= %d", minCertificateSeconds)
		}
		if *m > limit {
			v.Invalidf(at, *m, "if provided, maxExpirationSeconds must be <= %d", limit)
		}
	}
	n := 0
	for _, f := range []struct{ name, path string }{
		{"credentialBundlePath", c.CredentialBundlePath},
		{"keyPath", c.KeyPath},
		{"certificateChainPath", c.CertificateChainPath},
	} {
		if f.path == "" {
			continue
		}
		n++
		v.checkFilePath(p.Child(f.name), f.path)
		v.file(f.path, f.path)
	}
	if n == 0 {
		v.Required(p, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
}

// checkUserAnnotations checks what the pod tells the signer.
func (v *projection) checkUserAnnotations(annotations map[string]string, p *field.Path) {
	for _, key := range validate.Keys(annotations) {
		// Their keys may have any case, as those of annotations.
		v.Add(validation.IsDomainPrefixedKey(p, strings.ToLower(key)))
	}
	if err := apivalidation.ValidateAnnotationsSize(annotations); err != nil {
		v.TooLong(p, apivalidation.TotalAnnotationSizeLimitB)
	}
}

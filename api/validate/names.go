package validate

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NameFunc is how apimachinery checks the names of objects; prefix is for
// names that will be completed by the server.
type NameFunc = func(name string, prefix bool) []string

// LongName is a subdomain of RFC 1123 as newer kinds check it: the message of
// one that is too long counts bytes.
func LongName(name string, prefix bool) []string {
	if prefix {
		return apivalidation.NameIsDNSSubdomain(name, prefix)
	}
	return content.IsDNS1123Subdomain(name)
}

// Name reports a name that check does not accept.
func (e *Errors) Name(p *field.Path, name string, check NameFunc) {
	e.Messages(p, name, check(name, false))
}

// DNSLabel reports what is not a label of RFC 1123.
func (e *Errors) DNSLabel(p *field.Path, value string) {
	e.Messages(p, value, validation.IsDNS1123Label(value))
}

// DNSSubdomain reports what is not a subdomain of RFC 1123.
func (e *Errors) DNSSubdomain(p *field.Path, value string) {
	e.Messages(p, value, validation.IsDNS1123Subdomain(value))
}

// QualifiedName reports what is not of the form [prefix/]name.
func (e *Errors) QualifiedName(p *field.Path, value string) {
	e.Messages(p, value, validation.IsQualifiedName(value))
}

// RequiredDNSLabel is DNSLabel for a value that must be there.
func (e *Errors) RequiredDNSLabel(p *field.Path, value string) {
	if value == "" {
		e.Required(p, "")
		return
	}
	e.DNSLabel(p, value)
}

// Text reports an empty string.
func (e *Errors) Text(p *field.Path, value string) {
	if value == "" {
		e.Required(p, "")
	}
}

// maxDriverName is how long the name of a driver of volumes or devices may be.
const maxDriverName = 63

// DriverName reports what is not the name of a driver, which is a domain's.
func (e *Errors) DriverName(p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	if len(name) > maxDriverName {
		e.TooLong(p, maxDriverName)
	}
	e.Messages(p, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
}

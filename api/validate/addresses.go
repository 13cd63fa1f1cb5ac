package validate

import (
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IP reports what is no IP address. An old value stays valid whatever it is:
// what was accepted once must not stand in the way of other changes.
func (e *Errors) IP(p *field.Path, value string, old ...string) {
	e.Add(validation.IsValidIPForLegacyField(p, value, true, old))
}

// CIDR reports what is no range of IP addresses; old values stay valid.
func (e *Errors) CIDR(p *field.Path, value string, old ...string) {
	e.Add(validation.IsValidCIDRForLegacyField(p, value, true, old))
}

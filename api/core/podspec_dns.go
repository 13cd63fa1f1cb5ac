package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of resolv.conf, see
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-dns-config.
const (
	maxNameservers    = 3
	maxSearches       = 32
	maxSearchesLength = 2048
)

func (s *podSpec) checkDNSConfig(p *field.Path) {
	c := s.spec.DNSConfig
	if s.spec.DNSPolicy == corev1.DNSNone {
		if c == nil {
			s.Required(p, "must provide `dnsConfig` when `dnsPolicy` is None")
			return
		}
		if len(c.Nameservers) == 0 {
			s.Required(p.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
			return
		}
	}
	if c == nil {
		return
	}
	if len(c.Nameservers) > maxNameservers {
		s.Invalidf(p.Child("nameservers"), c.Nameservers, "must not have more than %v nameservers", maxNameservers)
	}
	for i, ip := range c.Nameservers {
		s.IP(p.Child("nameservers").Index(i), ip)
	}
	searches := p.Child("searches")
	if len(c.Searches) > maxSearches {
		s.Invalidf(searches, c.Searches, "must not have more than %v search paths", maxSearches)
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchesLength {
		s.Invalidf(searches, c.Searches, "must not have more than %v characters (including spaces) in the search list", maxSearchesLength)
	}
	for i, domain := range c.Searches {
		if domain != "." {
			domain = strings.TrimSuffix(domain, ".")
			s.Messages(searches.Index(i), domain, validation.IsDNS1123SubdomainWithUnderscore(domain))
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			s.Required(p.Child("options").Index(i), "must not be empty")
		}
	}
}

func (s *podSpec) checkHostAliases(fld *field.Path) {
	for i, a := range s.spec.HostAliases {
		s.IP(fld.Index(i).Child("ip"), a.IP)
		for j, name := range a.Hostnames {
			s.DNSSubdomain(fld.Index(i).Child("hostnames").Index(j), name)
		}
	}
}

// maxHostname is what Linux allows for the name of a machine.
const maxHostname = 64

func (s *podSpec) checkHostnames(fld *field.Path) {
	spec := s.spec
	if spec.Hostname != "" {
		s.DNSLabel(fld.Child("hostname"), spec.Hostname)
	}
	if spec.Subdomain != "" {
		s.DNSLabel(fld.Child("subdomain"), spec.Subdomain)
	}
	name, p := spec.HostnameOverride, fld.Child("hostnameOverride")
	if name == nil {
		return
	}
	if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
		s.Forbidden(p, "may not be specified when setHostnameAsFQDN is true")
	}
	if spec.HostNetwork {
		s.Forbidden(p, "may not be specified when hostNetwork is true")
	}
	if len(*name) > maxHostname {
		s.TooLong(p, maxHostname)
	}
	s.DNSSubdomain(p, *name)
}

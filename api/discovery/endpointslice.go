package discovery

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Bounds of a slice (discovery.k8s.io/v1 documents those of endpoints).
const (
	maxEndpoints = 1000
	maxAddresses = 100
	maxPorts     = 20_000
	maxTopology  = 16
	maxHints     = 8
	shown        = 3 // of a list in a table cell
)

// EndpointSlice is a part of the addresses behind a service.
var EndpointSlice = api.Of[discoveryv1.EndpointSlice]{
	Group: discoveryv1.GroupName, Version: "v1", Kind: "EndpointSlice", Resource: "endpointslices",
	Generation: true,
	// Labels count as well: they say whose slice it is.
	PrepareCreate: func(s *discoveryv1.EndpointSlice) { dropTopology(s, nil) },
	PrepareUpdate: func(s, old *discoveryv1.EndpointSlice) {
		if !apiequality.Semantic.DeepEqual(s.Labels, old.Labels) || !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			s.Generation = old.Generation + 1
		}
		dropTopology(s, old)
	},

	Default:        defaultEndpointSlice,
	ValidateCreate: func(s *discoveryv1.EndpointSlice) field.ErrorList { return validateEndpointSlice(s, true) },
	ValidateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
		var e validate.Errors
		e.Add(validateEndpointSlice(s, !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints)))
		e.Unchanged(field.NewPath("addressType"), s.AddressType, old.AddressType)
		return e.List()
	},
	Warnings: warnEndpointSlice,

	Columns: []api.Column[discoveryv1.EndpointSlice]{
		print.Name[discoveryv1.EndpointSlice](),
		{
			Name: "AddressType", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"],
			Value: func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) },
		},
		{
			Name: "Ports", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"],
			Value: func(s *discoveryv1.EndpointSlice) any { return ports(s.Ports) },
		},
		{
			Name: "Endpoints", Description: discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"],
			Value: func(s *discoveryv1.EndpointSlice) any { return addresses(s.Endpoints) },
		},
		print.Age[discoveryv1.EndpointSlice](),
	},
}

// ports prints port numbers, or names for them; a port without either is any.
func ports(list []discoveryv1.EndpointPort) string {
	texts := make([]string, len(list))
	for i, p := range list {
		switch {
		case p.Port != nil:
			texts[i] = strconv.Itoa(int(*p.Port))
		case p.Name != nil:
			texts[i] = *p.Name
		default:
			texts[i] = "*"
		}
	}
	return some(texts)
}

func addresses(list []discoveryv1.Endpoint) string {
	var texts []string
	for _, e := range list {
		texts = append(texts, e.Addresses...)
	}
	return some(texts)
}

// some prints the first of a list and how many more there are.
func some(list []string) string {
	switch n := len(list); {
	case n == 0:
		return "<unset>"
	case n > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ","), n-shown)
	}
	return strings.Join(list, ",")
}

// dropTopology clears what endpoints were described by before they had a
// nodeName, unless nothing changes. What it says of a node that the slice knew
// already is kept as one.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	nodes := sets.New[string]()
	if old != nil {
		if apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			return
		}
		for _, e := range old.Endpoints {
			nodes.Insert(e.DeprecatedTopology[corev1.LabelHostname])
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if node := e.DeprecatedTopology[corev1.LabelHostname]; e.NodeName == nil && node != "" && nodes.Has(node) {
			e.NodeName = &node
		}
		e.DeprecatedTopology = nil
	}
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = ptr.To("")
		}
		if p.Protocol == nil {
			p.Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

// validateEndpointSlice leaves endpoints alone that were stored already.
func validateEndpointSlice(s *discoveryv1.EndpointSlice, changed bool) field.ErrorList {
	var e validate.Errors
	validate.RequiredEnum(&e, field.NewPath("addressType"), s.AddressType,
		discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	fld := field.NewPath("endpoints")
	if n := len(s.Endpoints); !changed {
	} else if n > maxEndpoints {
		e.TooMany(fld, n, maxEndpoints)
	} else {
		for i := range s.Endpoints {
			checkEndpoint(&e, &s.Endpoints[i], s.AddressType, fld.Index(i))
		}
	}
	checkPorts(&e, s.Ports, field.NewPath("ports"))
	return e.List()
}

func checkEndpoint(e *validate.Errors, endpoint *discoveryv1.Endpoint, typ discoveryv1.AddressType, fld *field.Path) {
	p := fld.Child("addresses")
	switch n := len(endpoint.Addresses); {
	case n == 0:
		e.Required(p, "")
	case n > maxAddresses:
		e.TooMany(p, n, maxAddresses)
	}
	for i, a := range endpoint.Addresses {
		checkAddress(e, a, typ, p, p.Index(i))
	}
	if endpoint.NodeName != nil {
		e.DNSSubdomain(fld.Child("nodeName"), *endpoint.NodeName)
	}
	if n := len(endpoint.DeprecatedTopology); n > maxTopology {
		e.TooMany(fld.Child("deprecatedTopology"), n, maxTopology)
	}
	e.Add(metav1validation.ValidateLabels(endpoint.DeprecatedTopology, fld.Child("deprecatedTopology")))
	if endpoint.Hostname != nil {
		e.DNSLabel(fld.Child("hostname"), *endpoint.Hostname)
	}
	if endpoint.Hints != nil {
		checkHints(e, endpoint.Hints, fld.Child("hints"))
	}
}

// checkAddress tells what is of the other family at the list of addresses.
func checkAddress(e *validate.Errors, address string, typ discoveryv1.AddressType, list, fld *field.Path) {
	switch typ {
	case discoveryv1.AddressTypeFQDN:
		e.Add(validation.IsFullyQualifiedDomainName(fld, address))
		return
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		return // the type itself is reported
	}
	faults := validation.IsValidIPForLegacyField(fld, address, true, nil)
	if typ == discoveryv1.AddressTypeIPv6 {
		faults = validation.IsValidIP(fld, address)
	}
	if len(faults) > 0 {
		e.Add(faults)
		return
	}
	switch v6 := netutils.IsIPv6String(address); {
	case v6 && typ == discoveryv1.AddressTypeIPv4:
		e.Invalid(list, address, "must be an IPv4 address")
	case !v6 && typ == discoveryv1.AddressTypeIPv6:
		e.Invalid(list, address, "must be an IPv6 address")
	}
	e.Add(core.ValidateNonSpecialIP(address, fld))
}

func checkHints(e *validate.Errors, hints *discoveryv1.EndpointHints, fld *field.Path) {
	zones, nodes := sets.New[string](), sets.New[string]()
	if n := len(hints.ForZones); n > maxHints {
		e.TooMany(fld.Child("forZones"), n, maxHints)
	}
	for i, zone := range hints.ForZones {
		p := fld.Child("forZones").Index(i)
		if zones.Has(zone.Name) {
			e.Duplicate(p.Child("name"), zone.Name)
		}
		zones.Insert(zone.Name)
		e.Messages(p.Child("name"), zone.Name, validation.IsValidLabelValue(zone.Name))
	}
	if n := len(hints.ForNodes); n > maxHints {
		e.TooMany(fld.Child("forNodes"), n, maxHints)
	}
	for i, node := range hints.ForNodes {
		p := fld.Child("forNodes").Index(i)
		if nodes.Has(node.Name) {
			e.Duplicate(p.Child("name"), node.Name)
		}
		nodes.Insert(node.Name)
		e.DNSSubdomain(p.Child("name"), node.Name)
	}
}

func checkPorts(e *validate.Errors, list []discoveryv1.EndpointPort, fld *field.Path) {
	if len(list) > maxPorts {
		e.TooMany(fld, len(list), maxPorts)
		return
	}
	names := sets.New[string]()
	for i, port := range list {
		p, name := fld.Index(i), ptr.Deref(port.Name, "")
		if name != "" {
			e.DNSLabel(p.Child("name"), name)
		}
		if names.Has(name) {
			e.Duplicate(p.Child("name"), name)
		}
		names.Insert(name)
		if port.Protocol == nil {
			e.Required(p.Child("protocol"), "")
		} else {
			validate.Enum(e, p.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		}
		if port.AppProtocol != nil {
			e.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)
		}
	}
}

func warnEndpointSlice(s, old *discoveryv1.EndpointSlice) []string {
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		return []string{fmt.Sprintf("%s: FQDN endpoints are deprecated", field.NewPath("spec", "addressType"))}
	}
	return nil
}

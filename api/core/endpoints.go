package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// shownEndpoints is how many addresses a table cell lists.
const shownEndpoints = 3

// Endpoints are the addresses behind a service, in the form that came before
// EndpointSlice.
var Endpoints = api.Of[corev1.Endpoints]{
	Group: corev1.GroupName, Version: "v1", Kind: "Endpoints", Resource: "endpoints",
	Singular:       "endpoints",
	ShortNames:     []string{"ep"},
	CreateOnUpdate: true,

	NameValidation: apivalidation.NameIsDNSSubdomain,
	Default:        defaultEndpoints,
	Validate:       validateEndpoints,

	Columns: []api.Column[corev1.Endpoints]{
		print.Name[corev1.Endpoints](),
		{
			Name: "Endpoints", Description: corev1.Endpoints{}.SwaggerDoc()["subsets"],
			Value: func(e *corev1.Endpoints) any { return endpointAddresses(e.Subsets) },
		},
		print.Age[corev1.Endpoints](),
	},
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			if port := &e.Subsets[i].Ports[j]; port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
		}
	}
}

// endpointAddresses prints the first addresses and how many more there are. A
// subset without ports (of a headless service) has plain addresses.
func endpointAddresses(subsets []corev1.EndpointSubset) string {
	if len(subsets) == 0 {
		return print.None
	}
	var all []string
	for _, subset := range subsets {
		if len(subset.Ports) == 0 {
			for _, a := range subset.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, port := range subset.Ports {
			for _, a := range subset.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(port.Port))))
			}
		}
	}
	if len(all) > shownEndpoints {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shownEndpoints], ","), len(all)-shownEndpoints)
	}
	return strings.Join(all, ",")
}

func validateEndpoints(obj *corev1.Endpoints) field.ErrorList {
	var e validate.Errors
	for i, subset := range obj.Subsets {
		fld := field.NewPath("subsets").Index(i)
		if len(subset.Addresses)+len(subset.NotReadyAddresses) == 0 {
			e.Required(fld, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range subset.Addresses {
			checkEndpointAddress(&e, &subset.Addresses[j], fld.Child("addresses").Index(j))
		}
		for j := range subset.NotReadyAddresses {
			checkEndpointAddress(&e, &subset.NotReadyAddresses[j], fld.Child("notReadyAddresses").Index(j))
		}
		for j := range subset.Ports {
			checkEndpointPort(&e, &subset.Ports[j], len(subset.Ports) > 1, fld.Child("ports").Index(j))
		}
	}
	return e.List()
}

func checkEndpointAddress(e *validate.Errors, a *corev1.EndpointAddress, fld *field.Path) {
	e.Add(validation.IsValidIPForLegacyField(fld.Child("ip"), a.IP, true, nil))
	if a.Hostname != "" {
		e.DNSLabel(fld.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		e.DNSSubdomain(fld.Child("nodeName"), *a.NodeName)
	}
	checkNonSpecialIP(e, a.IP, fld.Child("ip"))
}

func checkEndpointPort(e *validate.Errors, p *corev1.EndpointPort, named bool, fld *field.Path) {
	switch {
	case p.Name != "":
		e.DNSLabel(fld.Child("name"), p.Name)
	case named:
		e.Required(fld.Child("name"), "")
	}
	e.PortNumber(fld.Child("port"), p.Port)
	checkProtocol(e, p.Protocol, fld.Child("protocol"))
	if p.AppProtocol != nil {
		e.QualifiedName(fld.Child("appProtocol"), *p.AppProtocol)
	}
}

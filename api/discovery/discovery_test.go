package discovery_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/discovery"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestEndpointSlice(t *testing.T) {
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To[int32](80)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"10.0.0.3"}}, {Addresses: []string{"10.0.0.4"}},
		},
	}
	discovery.EndpointSlice.Default(s)
	kindtest.Errors(t, discovery.EndpointSlice.ValidateCreate(s))
	cells := discovery.EndpointSlice.Erase().Cells(s)
	if cells[2] != "80" || cells[3] != "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..." {
		t.Errorf("%v", cells)
	}
	s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"::1"}}, {}, {Addresses: []string{"10.0.0.1"}, Hostname: ptr.To("Web")}}
	s.Ports = []discoveryv1.EndpointPort{{Name: ptr.To("a")}, {Name: ptr.To("a")}}
	if cells := discovery.EndpointSlice.Erase().Cells(s); cells[2] != "a,a" {
		t.Errorf("%v", cells)
	}
	discovery.EndpointSlice.Default(s)
	kindtest.Errors(t, discovery.EndpointSlice.ValidateCreate(s),
		`endpoints[0].addresses: Invalid value: "::1": must be an IPv4 address`,
		`endpoints[0].addresses[0]: Invalid value: "::1": may not be in the loopback range`,
		"endpoints[1].addresses: Required value",
		`endpoints[2].hostname: Invalid value: "Web": a lowercase RFC 1123 label`,
		`ports[1].name: Duplicate value: "a"`)
	other := s.DeepCopy()
	other.AddressType, other.Ports = discoveryv1.AddressTypeIPv6, nil
	// Endpoints that were stored are left alone.
	kindtest.Errors(t, discovery.EndpointSlice.ValidateUpdate(other, s), `addressType: Invalid value: null: field is immutable`)
	other.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"FD01::5"}}}
	kindtest.Errors(t, discovery.EndpointSlice.ValidateUpdate(other, s),
		`endpoints[0].addresses[0]: Invalid value: "FD01::5": must be in canonical form ("fd01::5")`, `addressType: Invalid value: null: field is immutable`)
}

func TestOldTopologyIsNotWritten(t *testing.T) {
	with := func(node, zone string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{DeprecatedTopology: map[string]string{corev1.LabelHostname: node, "zone": zone}}}}
	}
	for _, c := range []struct {
		name     string
		old, now *discoveryv1.EndpointSlice
		kept     bool
		node     string
	}{
		{"a new slice has none", nil, with("n1", "a"), false, ""},
		{"it stays when nothing changes", with("n1", "a"), with("n1", "a"), true, ""},
		{"when something changes, a node that was known is kept", with("n1", "a"), with("n1", "b"), false, "n1"},
		{"and another is not", with("n1", "a"), with("n2", "a"), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.old == nil {
				discovery.EndpointSlice.PrepareCreate(c.now)
			} else {
				discovery.EndpointSlice.PrepareUpdate(c.now, c.old)
			}
			if e := c.now.Endpoints[0]; (e.DeprecatedTopology != nil) != c.kept || ptr.Deref(e.NodeName, "") != c.node {
				t.Errorf("%+v", e)
			}
		})
	}
}

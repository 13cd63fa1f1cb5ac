package apiserver

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPlanEndpoints(t *testing.T) {
	for _, c := range []struct{ name, places, want string }{
		{"one server", "10.0.0.1:6443", "kubernetes IPv4 6443: 10.0.0.1"},
		{"three on one port", "10.0.0.3:6443 10.0.0.1:6443 10.0.0.2:6443", "kubernetes IPv4 6443: 10.0.0.1 10.0.0.2 10.0.0.3"},
		{"three of one machine", "10.0.0.1:6445 10.0.0.1:6443 10.0.0.1:6444", "kubernetes IPv4 6443: 10.0.0.1; kubernetes-ipv4-6444 IPv4 6444: 10.0.0.1; kubernetes-ipv4-6445 IPv4 6445: 10.0.0.1"},
		{"IPv6", "[fd00::1]:6443", "kubernetes IPv6 6443: fd00::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var places []netip.AddrPort
			for _, p := range strings.Fields(c.places) {
				places = append(places, netip.MustParseAddrPort(p))
			}
			endpoints, slices := planEndpoints(places)
			var got []string
			n := 0
			for _, s := range slices {
				var ips []string
				for _, e := range s.Endpoints {
					ips = append(ips, e.Addresses...)
				}
				n += len(ips)
				got = append(got, s.Name+" "+string(s.AddressType)+" "+netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(*s.Ports[0].Port)).String()[8:]+": "+strings.Join(ips, " "))
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
			for _, s := range endpoints.Subsets {
				n -= len(s.Addresses)
			}
			if n != 0 {
				t.Errorf("Endpoints and EndpointSlices differ by %d addresses", n)
			}
		})
	}
}

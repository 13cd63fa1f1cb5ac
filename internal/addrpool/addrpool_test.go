package addrpool_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/internal/addrpool"
)

func TestPoolsHoldWhatIsWritten(t *testing.T) {
	p, err := addrpool.Parse("192.0.2.0/30, 192.0.2.9-192.0.2.10,192.0.2.20,2001:db8::f-2001:db8::10,255.255.255.255/32")
	if err != nil {
		t.Fatal(err)
	}
	list := func(is6 bool) string {
		var out []string
		for a := range p.All(is6) {
			out = append(out, a.String())
			if !p.Contains(a) {
				t.Errorf("%s is given and not contained", a)
			}
		}
		return strings.Join(out, " ")
	}
	if got, want := list(false), "192.0.2.0 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.9 192.0.2.10 192.0.2.20 255.255.255.255"; got != want {
		t.Errorf("IPv4: %s, want %s", got, want)
	}
	if got, want := list(true), "2001:db8::f 2001:db8::10"; got != want {
		t.Errorf("IPv6: %s, want %s", got, want)
	}
	for _, a := range []string{"192.0.2.4", "192.0.2.11", "2001:db8::11", "::"} {
		if p.Contains(netip.MustParseAddr(a)) {
			t.Errorf("%s is contained", a)
		}
	}
}

func TestWhatIsNoPoolIsNamed(t *testing.T) {
	for _, s := range []string{"a", "192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "192.0.2.0/33", "192.0.2.1-x", "x-192.0.2.1"} {
		if _, err := addrpool.Parse(s); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v, want an error that names it", s, err)
		}
	}
}

package nodeipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name             string
		cluster, service string
		bits4, bits6     int
		known            map[string]string
		want             []string // for n1, n2, …; "full" when there is none
	}{
		{
			name: "parts are given in order", cluster: "10.244.0.0/16", bits4: 24,
			want: []string{"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"},
		},
		{
			name: "what other nodes have is left out", cluster: "10.244.0.0/16", bits4: 24,
			known: map[string]string{"a": "10.244.0.0/24", "b": "10.244.2.0/24"},
			want:  []string{"10.244.1.0/24", "10.244.3.0/24"},
		},
		{
			name: "a network of another size takes all that it touches", cluster: "10.244.0.0/16", bits4: 24,
			known: map[string]string{"a": "10.244.0.0/22", "b": "10.244.5.128/25"},
			want:  []string{"10.244.4.0/24", "10.244.6.0/24"},
		},
		{
			name: "a network outside takes nothing", cluster: "10.244.0.0/16", bits4: 24,
			known: map[string]string{"a": "192.168.0.0/24"},
			want:  []string{"10.244.0.0/24"},
		},
		{
			name: "a network around the whole cluster takes everything", cluster: "10.244.0.0/16", bits4: 24,
			known: map[string]string{"a": "10.0.0.0/8"},
			want:  []string{"full"},
		},
		{
			name: "the services' range is never given", cluster: "10.0.0.0/16", service: "10.0.0.0/23", bits4: 24,
			want: []string{"10.0.2.0/24", "10.0.3.0/24"},
		},
		{
			name: "the last part is given, then there is none", cluster: "10.244.0.0/23", bits4: 24,
			want: []string{"10.244.0.0/24", "10.244.1.0/24", "full"},
		},
		{
			name: "a network may be one part", cluster: "10.244.7.0/24", bits4: 24,
			want: []string{"10.244.7.0/24", "full"},
		},
		{
			name: "each family gives a part", cluster: "10.244.0.0/16,fd00:1::/48", bits4: 24, bits6: 64,
			want: []string{"10.244.0.0/24,fd00:1::/64", "10.244.1.0/24,fd00:1:0:1::/64"},
		},
		{
			name: "parts may begin in the second half of an IPv6 address", cluster: "fd00::/104", bits6: 120,
			known: map[string]string{"a": "fd00::/120"},
			want:  []string{"fd00::100/120", "fd00::200/120"},
		},
		{
			name: "parts may cross the middle of an IPv6 address", cluster: "fd00::/56", bits6: 72,
			want: []string{"fd00::/72", "fd00:0:0:0:100::/72"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := newAllocator(c.cluster, c.service, c.bits4, c.bits6)
			if err != nil {
				t.Fatal(err)
			}
			for node, network := range c.known {
				a.record(node, []netip.Prefix{netip.MustParsePrefix(network)})
			}
			for i, want := range c.want {
				parts, err := a.assign(fmt.Sprintf("n%d", i+1))
				if want == "full" {
					if !errors.Is(err, errFull) {
						t.Errorf("assign gave %v, %v; want none left", parts, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, part := range parts {
					got = append(got, part.String())
				}
				var wanted []string
				for _, text := range strings.Split(want, ",") {
					wanted = append(wanted, netip.MustParsePrefix(text).String())
				}
				if strings.Join(got, ",") != strings.Join(wanted, ",") {
					t.Errorf("node %d got %v, want %v", i+1, got, wanted)
				}
			}
		})
	}
}

func TestNoTwoNodesShareAPart(t *testing.T) {
	a, err := newAllocator("10.244.0.0/16", "", 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	owner := map[string]string{}
	for i := range 256 {
		node := fmt.Sprint("n", i)
		parts, err := a.assign(node)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := owner[parts[0].String()]; taken {
			t.Fatalf("%s was given to %s and %s", parts[0], other, node)
		}
		owner[parts[0].String()] = node
	}
	if _, err := a.assign("one-more"); !errors.Is(err, errFull) {
		t.Fatalf("the 257th node got %v", err)
	}
	a.forget("n77")
	parts, err := a.assign("one-more")
	if err != nil || parts[0].String() != "10.244.77.0/24" {
		t.Errorf("the freed part was not given again: %v, %v", parts, err)
	}
}

func TestAssignAgainGivesTheSame(t *testing.T) {
	a, err := newAllocator("10.244.0.0/16", "", 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := a.assign("n1")
	again, _ := a.assign("n1")
	if first[0] != again[0] {
		t.Errorf("a second try gave %v after %v", again, first)
	}
	// What the API says wins over what was meant.
	a.record("n1", []netip.Prefix{netip.MustParsePrefix("10.244.9.0/24")})
	if next, _ := a.assign("n2"); next[0].String() != "10.244.1.0/24" {
		t.Errorf("the next part is %v", next)
	}
	if a.pools[0].used[0] != 0 {
		t.Error("the part that was not used in the end is still taken")
	}
}

func TestAFailedDualStackAssignmentTakesNothing(t *testing.T) {
	a, err := newAllocator("10.244.0.0/16,fd00::/64", "", 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.assign("n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.assign("n2"); !errors.Is(err, errFull) {
		t.Fatalf("the second node got a part of the full IPv6 network: %v", err)
	}
	if len(a.pools[0].used) != 1 {
		t.Errorf("the IPv4 part was not given back: %v", a.pools[0].used)
	}
}

func TestWrongNetworksAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, cluster string
		bits4, bits6  int
	}{
		{"no network", "", 24, 64},
		{"not a network", "10.244.0.0", 24, 64},
		{"two of one family", "10.0.0.0/16,10.1.0.0/16", 24, 64},
		{"three networks", "10.0.0.0/16,fd00::/48,10.1.0.0/16", 24, 64},
		{"parts larger than the network", "10.0.0.0/24", 16, 64},
		{"parts smaller than an address", "10.0.0.0/24", 33, 64},
		{"too many IPv6 parts", "fd00::/32", 24, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a, err := newAllocator(c.cluster, "", c.bits4, c.bits6); err == nil {
				t.Errorf("accepted: %+v", a)
			}
		})
	}
}

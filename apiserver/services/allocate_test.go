package services

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// memory keeps claims for tests as etcd does.
type memory struct {
	mu sync.Mutex
	m  map[string]string
}

func (c *memory) Claim(_ context.Context, name, owner string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.m[name]; ok {
		return have == owner, nil
	}
	c.m[name] = owner
	return true, nil
}

func (c *memory) Release(_ context.Context, name, owner string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[name] == owner {
		delete(c.m, name)
	}
	return nil
}

func (c *memory) List(context.Context) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.m), nil
}

// fixture is an allocator whose claims can be looked at.
type fixture struct {
	*Allocator
	ips, ports *memory
}

func newFixture(t *testing.T, ports string, cidrs ...string) *fixture {
	t.Helper()
	f := &fixture{&Allocator{}, &memory{m: map[string]string{}}, &memory{m: map[string]string{}}}
	for _, c := range cidrs {
		a, err := NewAddresses(c, f.ips)
		if err != nil {
			t.Fatal(err)
		}
		f.Addresses = append(f.Addresses, a)
	}
	var err error
	if f.Ports, err = NewPorts(ports, f.ports); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) held() string { return fmt.Sprint(len(f.ips.m), "/", len(f.ports.m)) }

func service(name string, typ corev1.ServiceType, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
		Type: typ, Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	for _, c := range change {
		c(s)
	}
	return s
}

func (f *fixture) store(t *testing.T, s, old *corev1.Service) error {
	t.Helper()
	done, err := f.begin(t.Context(), s, old, false)
	if err == nil {
		done(t.Context(), true)
	}
	return err
}

func TestAServiceGetsWhatItsTypeNeeds(t *testing.T) {
	set := func(f func(*corev1.ServiceSpec)) func(*corev1.Service) {
		return func(s *corev1.Service) { f(&s.Spec) }
	}
	headless := set(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone })
	local := set(func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	twice := set(func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{{Name: "t", Port: 53, Protocol: corev1.ProtocolTCP}, {Name: "u", Port: 53, Protocol: corev1.ProtocolUDP}}
	})
	const v4, v6 = "10.0.0.0/24", "fd00::/112"
	for _, c := range []struct {
		name   string
		s      *corev1.Service
		cidrs  string
		want   string // addresses/ports held
		family string
		err    string
	}{
		{"an address", service("a", corev1.ServiceTypeClusterIP), v4, "1/0", "SingleStack [IPv4]", ""},
		{"an address and a port", service("a", corev1.ServiceTypeNodePort), v4, "1/1", "SingleStack [IPv4]", ""},
		{"one port for two protocols", service("a", corev1.ServiceTypeNodePort, twice), v4, "1/1", "SingleStack [IPv4]", ""},
		{"an address and a port for a balancer", service("a", corev1.ServiceTypeLoadBalancer), v4, "1/1", "SingleStack [IPv4]", ""},
		{"no port for a balancer that needs none", service("a", corev1.ServiceTypeLoadBalancer, set(func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = ptr.To(false) })), v4, "1/0", "SingleStack [IPv4]", ""},
		{"a port to check health on", service("a", corev1.ServiceTypeLoadBalancer, local), v4, "1/2", "SingleStack [IPv4]", ""},
		{"nothing when headless", service("a", corev1.ServiceTypeClusterIP, headless), v4, "0/0", "SingleStack [IPv4]", ""},
		{"both families when headless and without selector", service("a", corev1.ServiceTypeClusterIP, headless, set(func(s *corev1.ServiceSpec) { s.Selector = nil })), v4, "0/0", "RequireDualStack [IPv4 IPv6]", ""},
		{"nothing for a name", service("a", corev1.ServiceTypeExternalName), v4, "0/0", "<nil> []", ""},
		{"the address that it names", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.ClusterIP = "10.0.0.7" })), v4, "1/0", "SingleStack [IPv4]", ""},
		{"not one from elsewhere", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.ClusterIP = "10.1.0.7" })), v4, "0/0", "", "failed to allocate IP 10.1.0.7: the provided IP (10.1.0.7) is not in the valid range. The range of valid IPs is 10.0.0.0/24"},
		{"not the network's", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.ClusterIP = "10.0.0.0" })), v4, "0/0", "", "is not in the valid range"},
		{"not everybody's", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.ClusterIP = "10.0.0.255" })), v4, "0/0", "", "is not in the valid range"},
		{"the port that it names", service("a", corev1.ServiceTypeNodePort, set(func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 30005 })), v4, "1/1", "SingleStack [IPv4]", ""},
		{"not one from elsewhere, and no address then", service("a", corev1.ServiceTypeNodePort, set(func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 80 })), v4, "0/0", "", "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30099"},
		{"two families where there are two", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack) })), v4 + " " + v6, "2/0", "PreferDualStack [IPv4 IPv6]", ""},
		{"one where there is one", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack) })), v4, "1/0", "PreferDualStack [IPv4]", ""},
		{"two that must be and cannot", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack) })), v4, "0/0", "", "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"},
		{"a family that there is not", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} })), v4, "0/0", "", "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
		{"two things that there are not", service("a", corev1.ServiceTypeClusterIP, headless, set(func(s *corev1.ServiceSpec) {
			s.IPFamilyPolicy, s.IPFamilies = ptr.To(corev1.IPFamilyPolicyRequireDualStack), []corev1.IPFamily{corev1.IPv6Protocol}
		})), v4, "0/0", "", "[spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services, spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster]"},
		{"two families are asked for in so many words", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) {
			s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		})), v4 + " " + v6, "0/0", "", "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		{"so are two addresses", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs = "10.0.0.7", []string{"10.0.0.7", "fd00::7"}
		})), v4, "0/0", "", "[spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified, spec.clusterIPs[1]: Invalid value: [\"10.0.0.7\",\"fd00::7\"]: IPv6 is not configured on this cluster]"},
		{"the second family only", service("a", corev1.ServiceTypeClusterIP, set(func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} })), v4 + " " + v6, "1/0", "SingleStack [IPv6]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "30000-30099", strings.Fields(c.cidrs)...)
			err := f.store(t, c.s, nil)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v", err)
			}
			if f.held() != c.want {
				t.Errorf("holds %s", f.held())
			}
			if err != nil {
				return
			}
			policy := "<nil>"
			if p := c.s.Spec.IPFamilyPolicy; p != nil {
				policy = string(*p)
			}
			if got := fmt.Sprint(policy, " ", c.s.Spec.IPFamilies); got != c.family {
				t.Errorf("families %s", got)
			}
			if h := held(c.s); len(h.addresses) != len(f.ips.m) || len(h.ports) != len(f.ports.m) {
				t.Errorf("the service says %+v", h)
			}
			if c.s.Spec.Type != corev1.ServiceTypeExternalName && c.s.Spec.ClusterIP != c.s.Spec.ClusterIPs[0] {
				t.Errorf("%s of %v", c.s.Spec.ClusterIP, c.s.Spec.ClusterIPs)
			}
		})
	}
}

func TestTheSecondAddressGoesWhenItIsNotWanted(t *testing.T) {
	f := newFixture(t, "30000-30099", "10.0.0.0/24", "fd00::/112")
	old := service("a", corev1.ServiceTypeClusterIP, func(s *corev1.Service) { s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack) })
	if err := f.store(t, old, nil); err != nil {
		t.Fatal(err)
	}
	fewer := old.DeepCopy()
	fewer.Spec.ClusterIPs, fewer.Spec.IPFamilies = fewer.Spec.ClusterIPs[:1], fewer.Spec.IPFamilies[:1]
	err := f.store(t, fewer, old)
	if err == nil || !strings.Contains(err.Error(), "must be 'SingleStack' to release the secondary cluster IP") || f.held() != "2/0" {
		t.Errorf("without a word: %v, holds %s", err, f.held())
	}
	single := old.DeepCopy()
	single.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	if err := f.store(t, single, old); err != nil || f.held() != "1/0" || len(single.Spec.ClusterIPs) != 1 || len(single.Spec.IPFamilies) != 1 {
		t.Errorf("%v, holds %s for %v", err, f.held(), single.Spec.ClusterIPs)
	}
}

func TestAnAddressThatCannotChangeIsNotTaken(t *testing.T) {
	f := newFixture(t, "30000-30099", "10.0.0.0/24")
	old := service("a", corev1.ServiceTypeClusterIP)
	if err := f.store(t, old, nil); err != nil {
		t.Fatal(err)
	}
	moved := old.DeepCopy()
	moved.Spec.ClusterIP, moved.Spec.ClusterIPs = "192.168.0.1", []string{"192.168.0.1"}
	done, err := f.begin(t.Context(), moved, old, false)
	if err != nil {
		t.Fatal(err)
	}
	done(t.Context(), false) // validation refuses it
	if f.held() != "1/0" {
		t.Errorf("holds %s", f.held())
	}
}

func TestChangesOfType(t *testing.T) {
	types := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName}
	want := map[corev1.ServiceType]string{
		corev1.ServiceTypeClusterIP: "1/0", corev1.ServiceTypeNodePort: "1/1", corev1.ServiceTypeLoadBalancer: "1/1", corev1.ServiceTypeExternalName: "0/0",
	}
	for _, from := range types {
		for _, to := range types {
			t.Run(fmt.Sprintf("%s becomes %s", from, to), func(t *testing.T) {
				f := newFixture(t, "30000-30099", "10.0.0.0/24")
				old := service("a", from)
				if err := f.store(t, old, nil); err != nil {
					t.Fatal(err)
				}
				// Once with what the server had filled in, once without it.
				for _, s := range []*corev1.Service{old.DeepCopy(), service("a", to)} {
					s.Spec.Type = to
					if err := f.store(t, s, old); err != nil {
						t.Fatal(err)
					}
					if f.held() != want[to] {
						t.Errorf("holds %s", f.held())
					}
					if h := held(s); fmt.Sprint(len(h.addresses), "/", len(h.ports)) != want[to] {
						t.Errorf("the service says %+v", h)
					}
					if keep := from != corev1.ServiceTypeExternalName && to != corev1.ServiceTypeExternalName; keep && s.Spec.ClusterIP != old.Spec.ClusterIP {
						t.Errorf("address %s became %s", old.Spec.ClusterIP, s.Spec.ClusterIP)
					}
					if wantsNodePorts(old) && wantsNodePorts(s) && s.Spec.Ports[0].NodePort != old.Spec.Ports[0].NodePort {
						t.Errorf("port %d became %d", old.Spec.Ports[0].NodePort, s.Spec.Ports[0].NodePort)
					}
					old = s
				}
				f.release(t.Context(), ownerOf(old), held(old))
				if f.held() != "0/0" {
					t.Errorf("after the end %s", f.held())
				}
			})
		}
	}
}

func TestWhatIsAskedForIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*corev1.ServiceSpec)
		want   string // of a change
	}{
		{"an address that is none", func(s *corev1.ServiceSpec) { s.ClusterIP = "other" }, `spec.clusterIPs[0]: Invalid value: "other": must be a valid IP address`},
		{"a list that begins with another", func(s *corev1.ServiceSpec) { s.ClusterIPs = []string{"10.0.0.9"} }, "spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: first value must match `clusterIP`"},
		{"a family that is none", func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{"IPv5"} }, `spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "30000-30099", "10.0.0.0/24")
			old := service("a", corev1.ServiceTypeClusterIP)
			if err := f.store(t, old, nil); err != nil {
				t.Fatal(err)
			}
			now := old.DeepCopy()
			c.change(&now.Spec)
			if err := f.store(t, now, old); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	f := newFixture(t, "30000-30099", "10.0.0.0/24")
	old := service("a", corev1.ServiceTypeClusterIP)
	if err := f.store(t, old, nil); err != nil {
		t.Fatal(err)
	}
	now := old.DeepCopy()
	now.Spec.ClusterIP = "10.0.0.9"
	if err := f.store(t, now, old); err != nil || now.Spec.ClusterIPs[0] != "10.0.0.9" {
		t.Errorf("A change of clusterIP alone is lost before validation can refuse it: %v %v", now.Spec.ClusterIPs, err)
	}
}

func TestNobodyTakesWhatIsAnothers(t *testing.T) {
	f := newFixture(t, "30000-30099", "10.0.0.0/24")
	first := service("a", corev1.ServiceTypeNodePort)
	if err := f.store(t, first, nil); err != nil {
		t.Fatal(err)
	}
	second := service("b", corev1.ServiceTypeClusterIP, func(s *corev1.Service) { s.Spec.ClusterIP = first.Spec.ClusterIP })
	if err := f.store(t, second, nil); err == nil || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("%v", err)
	}
	third := service("c", corev1.ServiceTypeNodePort, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = first.Spec.Ports[0].NodePort })
	if err := f.store(t, third, nil); err == nil || !strings.Contains(err.Error(), "spec.ports[0].nodePort: Invalid value: "+fmt.Sprint(first.Spec.Ports[0].NodePort)+": provided port is already allocated") {
		t.Errorf("%v", err)
	}
	again := first.DeepCopy()
	again.UID = "another"
	if err := f.store(t, again, nil); err == nil || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("one of the same name: %v", err)
	}
	if f.held() != "1/1" {
		t.Errorf("refusals hold: %s", f.held())
	}
}

func TestDryRunsAndFailuresHoldNothing(t *testing.T) {
	f := newFixture(t, "30000-30099", "10.0.0.0/24")
	s := service("a", corev1.ServiceTypeNodePort)
	done, err := f.begin(t.Context(), s, nil, true)
	if err != nil || s.Spec.ClusterIP == "" || s.Spec.Ports[0].NodePort == 0 {
		t.Fatalf("a dry run says what would be: %v %+v", err, s.Spec)
	}
	done(t.Context(), true)
	if f.held() != "0/0" {
		t.Errorf("a dry run holds %s", f.held())
	}
	s = service("a", corev1.ServiceTypeNodePort)
	if done, err = f.begin(t.Context(), s, nil, false); err != nil {
		t.Fatal(err)
	}
	done(t.Context(), false)
	if f.held() != "0/0" {
		t.Errorf("a failure holds %s", f.held())
	}

	stored := service("a", corev1.ServiceTypeNodePort)
	if err := f.store(t, stored, nil); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		changed := stored.DeepCopy()
		changed.Spec.Type, changed.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
		if done, err = f.begin(t.Context(), changed, stored, dry); err != nil {
			t.Fatal(err)
		}
		done(t.Context(), dry)
		if f.held() != "1/1" {
			t.Errorf("an update that did not happen leaves %s", f.held())
		}
	}
	other := service("b", corev1.ServiceTypeClusterIP, func(s *corev1.Service) { s.Spec.ClusterIP = stored.Spec.ClusterIP })
	if _, err := f.begin(t.Context(), other, nil, true); err == nil {
		t.Error("a dry run may have another's address")
	}
}

func TestAllAddressesAreGivenOutOnceFromAbove(t *testing.T) {
	for _, c := range []struct {
		cidr string
		size int
		low  string // the first of the band that is left for last
	}{{"10.0.0.0/26", 62, "10.0.0.16"}, {"10.0.0.0/30", 2, ""}, {"fd00::/122", 63, ""}} {
		t.Run(c.cidr, func(t *testing.T) {
			f := newFixture(t, "30000-30000", c.cidr)
			seen := map[string]bool{}
			for i := range c.size {
				ip, err := f.Addresses[0].Next(t.Context(), fmt.Sprint("ns/", i))
				if err != nil || seen[ip] {
					t.Fatalf("%d: %v %s", i, err, ip)
				}
				seen[ip] = true
				if c.low != "" && i < c.size-16 && strings.HasPrefix(ip, "10.0.0.") {
					var last int
					_, _ = fmt.Sscanf(ip, "10.0.0.%d", &last)
					if last <= 16 {
						t.Errorf("%s, of the band for those who choose, as number %d", ip, i)
					}
				}
			}
			if _, err := f.Addresses[0].Next(t.Context(), "ns/x"); err == nil || err.Error() != "range is full" {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAllPortsAreGivenOutOnce(t *testing.T) {
	f := newFixture(t, "30000-30019", "10.0.0.0/24")
	seen := map[int32]bool{}
	for i := range 20 {
		p, err := f.Ports.Next(t.Context(), fmt.Sprint("ns/", i), nil)
		if err != nil || seen[p] || p < 30000 || p > 30019 {
			t.Fatalf("%d: %v %d", i, err, p)
		}
		seen[p] = true
	}
	if _, err := f.Ports.Next(t.Context(), "ns/x", nil); err == nil {
		t.Error("one more than there are")
	}
}

func TestManyAtOnceGetDifferentAddresses(t *testing.T) {
	f := newFixture(t, "30000-30199", "10.0.0.0/24")
	var group sync.WaitGroup
	out := make([]*corev1.Service, 100)
	for i := range out {
		out[i] = service(fmt.Sprint("s", i), corev1.ServiceTypeNodePort)
		group.Go(func() {
			if err := f.store(t, out[i], nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if f.held() != "100/100" {
		t.Errorf("%s", f.held())
	}
}

func TestRepair(t *testing.T) {
	f := newFixture(t, "30000-30099", "10.0.0.0/24", "fd00::/112")
	f.ips.m = map[string]string{"10.0.0.9": "ns/gone", "10.0.0.5": "ns/wrong", "10.0.0.6": "ns/right/", "fd00::9": "ns/gone"}
	f.ports.m = map[string]string{"30009": "ns/gone"}
	five := service("five", corev1.ServiceTypeNodePort, func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.5", []string{"10.0.0.5", "fd00::5"}
		s.Spec.Ports[0].NodePort = 30005
	})
	right := service("right", corev1.ServiceTypeClusterIP, func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.6", []string{"10.0.0.6"} })
	if err := f.Repair(t.Context(), []corev1.Service{*five, *right}); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"10.0.0.5": "ns/five/", "fd00::5": "ns/five/", "10.0.0.6": "ns/right/"}; !maps.Equal(f.ips.m, want) {
		t.Errorf("%v", f.ips.m)
	}
	if want := map[string]string{"30005": "ns/five/"}; !maps.Equal(f.ports.m, want) {
		t.Errorf("%v", f.ports.m)
	}
}

func TestRangesAreChecked(t *testing.T) {
	for _, s := range []string{"", "10.0.0.0", "10.0.0.0/33", "x/8"} {
		if _, err := NewAddresses(s, nil); err == nil {
			t.Errorf("%q is a range of addresses", s)
		}
	}
	for _, s := range []string{"x", "3-2", "70000-70001"} {
		if _, err := NewPorts(s, nil); err == nil {
			t.Errorf("%q is a range of ports", s)
		}
	}
}

func TestBands(t *testing.T) {
	for size, want := range map[int64][2]int64{1: {0, 0}, 16: {0, 0}, 17: {16, 16}, 254: {16, 16}, 2768: {173, 86}, 65534: {256, 128}} {
		if got := [2]int64{addressBand.of(size), portBand.of(size)}; got != want {
			t.Errorf("%d: %v", size, got)
		}
	}
}

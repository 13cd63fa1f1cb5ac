package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/skiffcluster/skiff/nodeagent/network/policy"
)

// The world of the conformance suite's network-policy cases: namespaces x, y
// and z with pods a, b and c each, that serve ports 80 and 81, named
// serve-80-tcp, serve-81-udp and so on. Pods a are on this node.
var world = func() map[string]netip.Addr {
	out := map[string]netip.Addr{"outside": netip.MustParseAddr("203.0.113.7")}
	for i, ns := range []string{"x", "y", "z"} {
		for j, pod := range []string{"a", "b", "c"} {
			out[ns+"/"+pod] = netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", j, 10*i+2))
			out[ns+"/"+pod+"6"] = netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", j, 10*i+2))
		}
	}
	return out
}()

var protocolNumbers = map[string]byte{"tcp": 6, "udp": 17, "sctp": 132}

func ports() []policy.Port {
	var out []policy.Port
	for name, number := range protocolNumbers {
		for _, port := range []uint16{80, 81} {
			out = append(out, policy.Port{Name: fmt.Sprintf("serve-%d-%s", port, name), Protocol: number, Number: port})
		}
	}
	return out
}

func newWorld(t *testing.T, policies ...string) *policy.Model {
	t.Helper()
	m := policy.NewModel()
	for _, ns := range []string{"x", "y", "z"} {
		m.SetNamespace(ns, map[string]string{"ns": ns, "kubernetes.io/metadata.name": ns})
		for _, pod := range []string{"a", "b", "c"} {
			m.SetPod(types.NamespacedName{Namespace: ns, Name: pod}, &policy.Pod{
				Labels: map[string]string{"pod": pod}, IPs: []netip.Addr{world[ns+"/"+pod], world[ns+"/"+pod+"6"]}, Ports: ports(), Local: pod == "a",
			})
		}
	}
	for i, text := range policies {
		set(t, m, fmt.Sprintf("p%d", i), text)
	}
	return m
}

// set puts a policy into namespace x, unless it names another.
func set(t *testing.T, m *policy.Model, name, spec string) {
	t.Helper()
	p := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%v\n%s", err, spec)
	}
	p.Namespace, p.Name = "x", name
	if err := m.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
}

const denyAll = `{podSelector: {}, policyTypes: [Ingress, Egress]}`

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		name     string
		policies []string
		// "from to port/protocol", from and to being namespace/pod.
		allowed, denied []string
	}{
		{
			name:    "without a policy everybody talks to everybody",
			allowed: []string{"y/b x/a 80/tcp", "outside x/a 81/udp", "x/a outside 443/tcp"},
		},
		{
			name:     "default deny of ingress isolates the pods of its namespace only",
			policies: []string{`{podSelector: {}, policyTypes: [Ingress]}`},
			allowed:  []string{"x/a y/b 80/tcp", "x/a x/a 80/tcp", "x/b y/a 80/tcp", "y/a z/a 80/sctp"},
			denied:   []string{"y/b x/a 80/tcp", "x/b x/a 81/udp", "outside x/a 80/sctp", "x/b6 x/a6 80/tcp"},
		},
		{
			name:     "default deny of all stops egress too",
			policies: []string{denyAll},
			allowed:  []string{"x/a x/a 80/tcp"},
			denied:   []string{"x/a y/b 80/tcp", "x/a outside 53/udp", "y/b x/a 80/tcp"},
		},
		{
			name:     "policy types are ingress, and egress only with egress rules, when none are named",
			policies: []string{`{podSelector: {}}`},
			allowed:  []string{"x/a y/b 80/tcp"},
			denied:   []string{"y/b x/a 80/tcp"},
		},
		{
			name:     "an empty rule allows all",
			policies: []string{`{podSelector: {}, ingress: [{}], policyTypes: [Ingress]}`},
			allowed:  []string{"y/b x/a 80/tcp", "outside x/a 81/udp"},
		},
		{
			name:     "a pod selector chooses in the policy's own namespace",
			policies: []string{`{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}`},
			allowed:  []string{"x/b x/a 80/tcp", "x/b x/a 81/udp", "x/b6 x/a6 81/sctp"},
			denied:   []string{"y/b x/a 80/tcp", "x/c x/a 80/tcp", "outside x/a 80/tcp"},
		},
		{
			name:     "a namespace selector chooses all pods of namespaces",
			policies: []string{`{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`},
			allowed:  []string{"y/a x/a 80/tcp", "y/b x/a 80/tcp"},
			denied:   []string{"x/b x/a 80/tcp", "z/b x/a 80/tcp"},
		},
		{
			name:     "an empty namespace selector chooses all pods, and nobody outside",
			policies: []string{`{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`},
			allowed:  []string{"y/a x/a 80/tcp", "x/c x/a 80/tcp"},
			denied:   []string{"outside x/a 80/tcp"},
		},
		{
			name:     "both selectors in one peer must match",
			policies: []string{`{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchLabels: {pod: b}}}]}]}`},
			allowed:  []string{"y/b x/a 80/tcp", "z/b x/a 80/tcp"},
			denied:   []string{"x/b x/a 80/tcp", "y/c x/a 80/tcp"},
		},
		{
			name:     "two peers are alternatives",
			policies: []string{`{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}, {podSelector: {matchLabels: {pod: b}}}]}]}`},
			allowed:  []string{"y/c x/a 80/tcp", "x/b x/a 80/tcp"},
			denied:   []string{"x/c x/a 80/tcp", "z/b x/a 80/tcp"},
		},
		{
			name:     "a port allows its protocol and number only",
			policies: []string{`{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`},
			allowed:  []string{"y/b x/a 80/tcp", "outside x/a 80/tcp"},
			denied:   []string{"y/b x/a 81/tcp", "y/b x/a 80/udp", "y/b x/a 80/sctp"},
		},
		{
			name:     "a protocol without a port allows all of its ports",
			policies: []string{`{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}`},
			allowed:  []string{"y/b x/a 80/sctp", "y/b x/a 9/sctp"},
			denied:   []string{"y/b x/a 80/tcp"},
		},
		{
			name:     "an end port makes a range",
			policies: []string{`{podSelector: {}, egress: [{ports: [{port: 80, endPort: 82, protocol: UDP}]}], policyTypes: [Egress]}`},
			allowed:  []string{"x/a y/b 80/udp", "x/a y/b 82/udp"},
			denied:   []string{"x/a y/b 79/udp", "x/a y/b 83/udp", "x/a y/b 81/tcp"},
		},
		{
			name:     "a named port is that of the pod that is reached",
			policies: []string{`{podSelector: {}, ingress: [{ports: [{port: serve-81-tcp}]}]}`},
			allowed:  []string{"y/b x/a 81/tcp", "y/b6 x/a6 81/tcp"},
			denied:   []string{"y/b x/a 80/tcp", "y/b x/a 81/udp"},
		},
		{
			name:     "a named port of egress is that of each peer",
			policies: []string{`{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}], ports: [{port: serve-80-tcp}]}], policyTypes: [Egress]}`},
			allowed:  []string{"x/a y/b 80/tcp"},
			denied:   []string{"x/a y/b 81/tcp", "x/a z/b 80/tcp", "x/a outside 80/tcp"},
		},
		{
			name:     "a named port that no pod has allows nothing",
			policies: []string{`{podSelector: {}, ingress: [{ports: [{port: nowhere}]}]}`},
			denied:   []string{"y/b x/a 80/tcp"},
		},
		{
			name:     "a block allows its addresses but those that are excepted",
			policies: []string{`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/29, 10.244.1.22/32]}}]}], policyTypes: [Egress]}`},
			allowed:  []string{"x/a y/c 80/tcp", "x/a y/b 80/tcp"},
			denied:   []string{"x/a x/b 80/tcp", "x/a z/b 80/tcp", "x/a outside 80/tcp", "x/a6 y/c6 80/tcp"},
		},
		{
			name: "what one policy excepts another may allow",
			policies: []string{
				`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.244.1.0/24, except: [10.244.1.2/32]}}]}], policyTypes: [Egress]}`,
				`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.244.1.2/32}}]}], policyTypes: [Egress]}`,
			},
			allowed: []string{"x/a x/b 80/tcp", "x/a y/b 80/tcp"},
			denied:  []string{"x/a x/c 80/tcp"},
		},
		{
			name:     "all addresses of one version don't open the other",
			policies: []string{`{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}`},
			allowed:  []string{"outside x/a 80/tcp", "y/b x/a 80/tcp"},
			denied:   []string{"y/b6 x/a6 80/tcp"},
		},
		{
			name:     "policies add up",
			policies: []string{denyAll, `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80}]}]}`, `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81}]}]}`},
			allowed:  []string{"y/b x/a 80/tcp", "y/b x/a 81/tcp"},
			denied:   []string{"y/b x/a 82/tcp", "x/a y/b 80/tcp"},
		},
		{
			name:     "the sender's egress and the receiver's ingress must both allow",
			policies: []string{`{podSelector: {matchLabels: {pod: a}}, egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}], policyTypes: [Egress]}`},
			allowed:  []string{"x/a y/a 80/tcp"},
			denied:   []string{"x/a z/a 80/tcp"},
		},
		{
			name:     "pods that are not selected stay open",
			policies: []string{`{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress, Egress]}`},
			allowed:  []string{"y/b x/a 80/tcp", "x/a outside 80/tcp"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newWorld(t, c.policies...).State()
			for want, list := range map[bool][]string{true: c.allowed, false: c.denied} {
				for _, text := range list {
					if got := allows(s, parse(t, text)); got != want {
						t.Errorf("%s: got %v, want %v", text, got, want)
					}
				}
			}
		})
	}
}

func parse(t *testing.T, text string) packet {
	t.Helper()
	words := strings.Fields(text)
	var p packet
	var protocol string
	if _, err := fmt.Sscanf(strings.ReplaceAll(words[2], "/", " "), "%d %s", &p.port, &protocol); err != nil {
		t.Fatal(err)
	}
	p.from, p.to, p.protocol = world[words[0]], world[words[1]], protocolNumbers[protocol]
	if !p.from.IsValid() || !p.to.IsValid() || p.protocol == 0 {
		t.Fatalf("%q is no packet", text)
	}
	return p
}

func TestPoliciesFollowChanges(t *testing.T) {
	m := newWorld(t, `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}, podSelector: {matchLabels: {pod: b}}}]}]}`)
	check := func(when, text string, want bool) {
		t.Helper()
		if got := allows(m.State(), parse(t, text)); got != want {
			t.Errorf("%s: %s: got %v, want %v", when, text, got, want)
		}
	}
	check("at first", "y/b x/a 80/tcp", true)
	m.SetNamespace("y", map[string]string{"ns": "other"})
	check("when the namespace has other labels", "y/b x/a 80/tcp", false)
	m.SetNamespace("y", map[string]string{"ns": "y"})
	check("when it has them again", "y/b x/a 80/tcp", true)
	b := types.NamespacedName{Namespace: "y", Name: "b"}
	pod := *m.Pod(b)
	pod.Labels = map[string]string{"pod": "other"}
	m.SetPod(b, &pod)
	check("when the pod has other labels", "y/b x/a 80/tcp", false)
	check("when the pod has other labels", "y/c x/a 80/tcp", false)
	pod.Labels = map[string]string{"pod": "b"}
	m.SetPod(b, &pod)
	m.DeletePod(b)
	check("when the pod is gone", "y/b x/a 80/tcp", false)
	set(t, m, "p0", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}`)
	check("when the policy has changed", "z/b x/a 80/tcp", true)
	check("when the policy has changed", "y/c x/a 80/tcp", false)
	m.DeletePolicy(types.NamespacedName{Namespace: "x", Name: "p0"})
	check("when the policy is gone", "y/c x/a 80/tcp", true)
	if s := m.State(); len(s.Sets)+len(s.Chains)+len(s.Ingress)+len(s.Egress) != 0 {
		t.Errorf("without policies there is still %+v", s)
	}
}

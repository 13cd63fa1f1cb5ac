package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what policies see of a pod that has a network of its own.
type Pod struct {
	Labels labels.Set
	IPs    []netip.Addr
	Ports  []Port
	// Local pods are on this node: they are isolated here.
	Local bool
}

// Port is a port with a name.
type Port struct {
	Name     string
	Protocol byte
	Number   uint16
}

// Model holds policies, pods and namespaces, and which pods each selector
// chooses. A change costs what it touches; State is made anew.
type Model struct {
	policies   map[types.NamespacedName]*compiled
	pods       map[types.NamespacedName]*Pod
	namespaces map[string]labels.Set
	groups     map[string]*group
}

// compiled is a policy with its selectors parsed.
type compiled struct {
	namespace string
	selects   labels.Selector
	rules     map[Direction][]rule // a direction that is missing is not isolated
}

type rule struct {
	groups   []*group // of pods
	blocks   []block
	everyone bool // no peers are named
	ports    []portRange
}

type portRange struct {
	protocol byte
	from, to uint16 // both 0: any
	name     string
}

type block struct {
	name   string
	ranges []addrRange
}

// group is the pods that a peer's selectors choose; policies that select alike
// share it.
type group struct {
	name       string
	namespace  string          // of the policy, where selectsIn is nil
	selectsIn  labels.Selector // namespaces
	selects    labels.Selector
	members    map[types.NamespacedName]*Pod
	references int
}

// NewModel makes an empty one.
func NewModel() *Model {
	return &Model{
		policies: map[types.NamespacedName]*compiled{}, pods: map[types.NamespacedName]*Pod{},
		namespaces: map[string]labels.Set{}, groups: map[string]*group{},
	}
}

// SetNamespace tells a namespace's labels.
func (m *Model) SetNamespace(name string, l map[string]string) {
	if old, known := m.namespaces[name]; known && labels.Equals(old, l) {
		return
	}
	m.namespaces[name] = l
	for key, pod := range m.pods {
		if key.Namespace == name {
			m.sort(key, pod)
		}
	}
}

// DeleteNamespace forgets a namespace, which is empty by then.
func (m *Model) DeleteNamespace(name string) { delete(m.namespaces, name) }

// SetPod tells of a pod as it is now.
func (m *Model) SetPod(key types.NamespacedName, pod *Pod) {
	m.pods[key] = pod
	m.sort(key, pod)
}

// Pod gives one that is known, or nil.
func (m *Model) Pod(key types.NamespacedName) *Pod { return m.pods[key] }

// DeletePod forgets a pod.
func (m *Model) DeletePod(key types.NamespacedName) {
	delete(m.pods, key)
	for _, g := range m.groups {
		delete(g.members, key)
	}
}

func (m *Model) sort(key types.NamespacedName, pod *Pod) {
	for _, g := range m.groups {
		if g.chooses(key.Namespace, m.namespaces[key.Namespace], pod) {
			g.members[key] = pod
		} else {
			delete(g.members, key)
		}
	}
}

func (g *group) chooses(namespace string, l labels.Set, pod *Pod) bool {
	if g.selectsIn == nil && namespace != g.namespace || g.selectsIn != nil && !g.selectsIn.Matches(l) {
		return false
	}
	return g.selects.Matches(pod.Labels)
}

// Empty says that there is no policy.
func (m *Model) Empty() bool { return len(m.policies) == 0 }

// SetPolicy takes a policy that is new or has changed.
func (m *Model) SetPolicy(p *networkingv1.NetworkPolicy) error {
	key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	c, err := m.compile(p)
	if err != nil {
		return fmt.Errorf("network policy %s: %w", key, err)
	}
	m.DeletePolicy(key) // after the new one holds what both need
	m.policies[key] = c
	return nil
}

// DeletePolicy forgets a policy.
func (m *Model) DeletePolicy(key types.NamespacedName) {
	old := m.policies[key]
	if old == nil {
		return
	}
	delete(m.policies, key)
	for _, rules := range old.rules {
		for _, r := range rules {
			for _, g := range r.groups {
				if g.references--; g.references == 0 {
					delete(m.groups, g.name)
				}
			}
		}
	}
}

func (m *Model) compile(p *networkingv1.NetworkPolicy) (*compiled, error) {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return nil, err
	}
	c := &compiled{namespace: p.Namespace, selects: selector, rules: map[Direction][]rule{}}
	isolates := func(t networkingv1.PolicyType, otherwise bool) bool {
		return slices.Contains(p.Spec.PolicyTypes, t) || len(p.Spec.PolicyTypes) == 0 && otherwise
	}
	if isolates(networkingv1.PolicyTypeIngress, true) {
		c.rules[Ingress] = []rule{}
		for _, r := range p.Spec.Ingress {
			if err := m.addRule(c, Ingress, r.From, r.Ports); err != nil {
				return nil, err
			}
		}
	}
	if isolates(networkingv1.PolicyTypeEgress, len(p.Spec.Egress) > 0) {
		c.rules[Egress] = []rule{}
		for _, r := range p.Spec.Egress {
			if err := m.addRule(c, Egress, r.To, r.Ports); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (m *Model) addRule(c *compiled, d Direction, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) error {
	r := rule{everyone: len(peers) == 0}
	for i := range peers {
		if b := peers[i].IPBlock; b != nil {
			parsed, err := parseBlock(b)
			if err != nil {
				return err
			}
			r.blocks = append(r.blocks, parsed)
			continue
		}
		g, err := m.group(c.namespace, &peers[i])
		if err != nil {
			return err
		}
		r.groups = append(r.groups, g)
	}
	for i := range ports {
		r.ports = append(r.ports, parsePort(&ports[i]))
	}
	if len(ports) == 0 {
		r.ports = []portRange{{}}
	}
	c.rules[d] = append(c.rules[d], r)
	return nil
}

// protocols are the numbers that IANA gave them.
var protocols = map[corev1.Protocol]byte{"": 6, corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

// ProtocolNumber is the IANA's of a protocol.
func ProtocolNumber(p corev1.Protocol) byte { return protocols[p] }

func parsePort(p *networkingv1.NetworkPolicyPort) portRange {
	out := portRange{protocol: protocols[corev1.ProtocolTCP]}
	if p.Protocol != nil {
		out.protocol = protocols[*p.Protocol]
	}
	switch {
	case p.Port == nil:
	case p.Port.StrVal != "":
		out.name = p.Port.StrVal
	default:
		out.from = uint16(p.Port.IntVal) //nolint:gosec // validated
		out.to = out.from
		if p.EndPort != nil {
			out.to = uint16(*p.EndPort) //nolint:gosec // validated
		}
	}
	return out
}

func parseBlock(b *networkingv1.IPBlock) (block, error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return block{}, fmt.Errorf("ipBlock: %w", err)
	}
	var except []netip.Prefix
	for _, text := range b.Except {
		e, err := netip.ParsePrefix(text)
		if err != nil {
			return block{}, fmt.Errorf("ipBlock: except: %w", err)
		}
		except = append(except, e)
	}
	return block{name: nameOf("block", b.CIDR, strings.Join(b.Except, ",")), ranges: without(cidr, except)}, nil
}

// group finds the one of a peer's selectors, or makes it.
func (m *Model) group(namespace string, peer *networkingv1.NetworkPolicyPeer) (*group, error) {
	g := &group{namespace: namespace, selects: labels.Everything(), members: map[types.NamespacedName]*Pod{}, references: 1}
	var err error
	in := "=" + namespace
	if peer.NamespaceSelector != nil {
		if g.selectsIn, err = metav1.LabelSelectorAsSelector(peer.NamespaceSelector); err != nil {
			return nil, err
		}
		in = "~" + g.selectsIn.String()
	}
	if peer.PodSelector != nil {
		if g.selects, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return nil, err
		}
	}
	g.name = nameOf("pods", in, g.selects.String())
	if known := m.groups[g.name]; known != nil {
		known.references++
		return known, nil
	}
	m.groups[g.name] = g
	for key, pod := range m.pods {
		if g.chooses(key.Namespace, m.namespaces[key.Namespace], pod) {
			g.members[key] = pod
		}
	}
	return g, nil
}

// nameOf makes a name for the kernel, which allows 31 characters before NUL.
func nameOf(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:10])
}

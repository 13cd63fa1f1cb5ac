package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// State is what follows for the pods of this node.
func (m *Model) State() *State {
	s := &State{Sets: map[string]Set{}, Chains: map[string][]Rule{}, Ingress: map[netip.Addr]string{}, Egress: map[netip.Addr]string{}}
	names := make([]types.NamespacedName, 0, len(m.policies))
	for key := range m.policies {
		names = append(names, key)
	}
	slices.SortFunc(names, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	selected := map[types.NamespacedName][]*Pod{}
	for key, pod := range m.pods {
		if !pod.Local {
			continue
		}
		for direction, isolated := range map[Direction]map[netip.Addr]string{Ingress: s.Ingress, Egress: s.Egress} {
			var chains []string
			for _, name := range names {
				c := m.policies[name]
				if _, ok := c.rules[direction]; ok && name.Namespace == key.Namespace && c.selects.Matches(pod.Labels) {
					chains = append(chains, chainOf(name, direction))
					if !slices.Contains(selected[name], pod) {
						selected[name] = append(selected[name], pod)
					}
				}
			}
			if len(chains) == 0 {
				continue
			}
			all := nameOf("all", chains...)
			for _, ip := range pod.IPs {
				isolated[ip] = all
			}
			if _, ok := s.Chains[all]; !ok {
				var rules []Rule
				for _, c := range chains {
					rules = append(rules, Rule{Verdict: Jump, Jump: c})
				}
				s.Chains[all] = append(rules, Rule{Verdict: Drop})
			}
		}
	}
	for name, pods := range selected {
		for direction, rules := range m.policies[name].rules {
			chain := chainOf(name, direction)
			s.Chains[chain] = []Rule{}
			for i := range rules {
				s.addRule(m, chain, i, direction, &rules[i], pods)
			}
		}
	}
	return s
}

func chainOf(name types.NamespacedName, d Direction) string {
	return nameOf("policy", name.String(), strconv.Itoa(int(d)))
}

// addRule adds what one rule of a policy allows to the pods it selects.
func (s *State) addRule(m *Model, chain string, i int, d Direction, r *rule, selected []*Pod) {
	for _, ipv6 := range []bool{false, true} {
		var peers []string
		if r.everyone {
			peers = append(peers, "")
		}
		for _, g := range r.groups {
			peers = append(peers, s.addGroup(g, ipv6))
		}
		for _, b := range r.blocks {
			if name := s.addBlock(&b, ipv6); name != "" {
				peers = append(peers, name)
			}
		}
		for j, port := range r.ports {
			named := ""
			if port.name != "" {
				named = family(nameOf("named", chain, strconv.Itoa(i), strconv.Itoa(j)), ipv6)
				targets := selected
				if d == Egress {
					targets = m.targets(r)
				}
				s.Sets[named] = namedPorts(targets, port, ipv6)
			}
			for _, peer := range peers {
				s.Chains[chain] = append(s.Chains[chain], Rule{
					IPv6: ipv6, Direction: d, Peers: peer, Protocol: port.protocol, From: port.from, To: port.to, Ports: named, Verdict: Accept,
				})
			}
		}
	}
}

// family makes one name for each IP version.
func family(name string, ipv6 bool) string {
	if ipv6 {
		return name + "6"
	}
	return name + "4"
}

func (s *State) addGroup(g *group, ipv6 bool) string {
	name := family(g.name, ipv6)
	if _, ok := s.Sets[name]; ok {
		return name
	}
	set := Set{Kind: Addresses, IPv6: ipv6, Elements: map[Element]bool{}}
	for _, pod := range g.members {
		for _, ip := range pod.IPs {
			if ip.Is6() == ipv6 {
				set.Elements[Element{First: ip}] = true
			}
		}
	}
	s.Sets[name] = set
	return name
}

// addBlock gives no name where a block has no address of the version.
func (s *State) addBlock(b *block, ipv6 bool) string {
	set := Set{Kind: Ranges, IPv6: ipv6, Elements: map[Element]bool{}}
	for _, r := range b.ranges {
		if r.first.Is6() == ipv6 {
			set.Elements[Element{First: r.first, Last: r.last}] = true
		}
	}
	if len(set.Elements) == 0 {
		return ""
	}
	name := family(b.name, ipv6)
	s.Sets[name] = set
	return name
}

// targets are the pods that an egress rule may lead to, whose ports may have
// the names it uses.
func (m *Model) targets(r *rule) []*Pod {
	var out []*Pod
	for _, pod := range m.pods {
		in := func(b block) bool {
			return slices.ContainsFunc(b.ranges, func(a addrRange) bool { return slices.ContainsFunc(pod.IPs, a.contains) })
		}
		if len(pod.Ports) > 0 && (r.everyone || slices.ContainsFunc(r.blocks, in)) {
			out = append(out, pod)
		}
	}
	for _, g := range r.groups {
		for _, pod := range g.members {
			out = append(out, pod)
		}
	}
	return out
}

func namedPorts(pods []*Pod, want portRange, ipv6 bool) Set {
	set := Set{Kind: AddressPorts, IPv6: ipv6, Elements: map[Element]bool{}}
	for _, pod := range pods {
		for _, p := range pod.Ports {
			if p.Name != want.name || p.Protocol != want.protocol {
				continue
			}
			for _, ip := range pod.IPs {
				if ip.Is6() == ipv6 {
					set.Elements[Element{First: ip, Port: p.Number}] = true
				}
			}
		}
	}
	return set
}

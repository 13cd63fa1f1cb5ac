package corefile

import (
	"net/netip"

	"github.com/miekg/dns"
)

// Default is what is in force without a ConfigMap: kubeadm's.
const Default = `.:53 {
    errors
    kubernetes CLUSTER_DOMAIN in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loadbalance
}
`

// Config is a whole Corefile.
type Config struct{ Blocks []*Block }

// Block is one server block: how names of its zones are answered. Names are
// canonical: lower case, with a dot at the end.
type Block struct {
	Zones []string
	// Log writes a line for each query.
	Log        bool
	Kubernetes *Kubernetes
	Hosts      *Hosts
	Rewrites   []Rewrite
	Forwards   []Forward
	Cache      *Cache
}

// Match returns the block with the longest zone that name is in, or nil.
func (c *Config) Match(name string) *Block {
	var found *Block
	longest := -1
	for _, b := range c.Blocks {
		for _, z := range b.Zones {
			if n := dns.CountLabel(z); n > longest && dns.IsSubDomain(z, name) {
				found, longest = b, n
			}
		}
	}
	return found
}

// Kubernetes answers for the cluster.
type Kubernetes struct {
	Zones []string
	// TTL of answers in seconds.
	TTL uint32
	// PodsDisabled refuses the names of pods by address.
	PodsDisabled bool
}

// Hosts answers from a list.
type Hosts struct {
	Zones []string
	// TTL of answers in seconds.
	TTL uint32
	// Addresses by name and names by address.
	Addresses map[string][]netip.Addr
	Names     map[netip.Addr][]string
	// Fallthrough are the zones whose names others answer when the list does not.
	Fallthrough []string
}

// Forward asks other servers for names in From.
type Forward struct {
	From string
	// To are addresses with ports, or the path of a resolv.conf.
	To            []string
	Except        []string
	MaxConcurrent int
	// Policy is random, round_robin or sequential.
	Policy   string
	ForceTCP bool
}

// Cache bounds for how many seconds answers of other servers are kept; 0 keeps none.
type Cache struct{ Success, Denial uint32 }

package nodeipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// errFull means that every part of a cluster CIDR has a node.
var errFull = errors.New("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")

// maxSplit is by how many bits an IPv6 network may be split, upstream's limit;
// 65,536 nodes are more than a cluster can have.
const maxSplit = 16

// pool is one network cut into equal parts.
type pool struct {
	network  netip.Prefix
	bits     int            // prefix length of a part
	parts    uint64         // how many there are
	next     uint64         // where the search for a free part begins
	used     map[uint64]int // part → how many users
	reserved []netip.Prefix // never given away
}

func newPool(network netip.Prefix, bits int, reserved []netip.Prefix) (*pool, error) {
	network = network.Masked()
	if bits < network.Bits() || bits > network.Addr().BitLen() {
		return nil, fmt.Errorf("cluster CIDR %s: the node mask size %d must be between %d and %d", network, bits, network.Bits(), network.Addr().BitLen())
	}
	split := bits - network.Bits()
	if network.Addr().Is6() && split > maxSplit {
		return nil, fmt.Errorf("cluster CIDR %s: the node mask size %d splits it by more than %d bits; choose at most %d", network, bits, maxSplit, network.Bits()+maxSplit)
	}
	p := &pool{network: network, bits: bits, parts: 1 << split, used: map[uint64]int{}}
	for _, r := range reserved {
		if r.Overlaps(network) {
			p.reserved = append(p.reserved, r.Masked())
		}
	}
	return p, nil
}

// take returns a free part and marks it. Parts are given in order and are only
// reused after the last one, so that an address seldom gets a second meaning
// soon after its first.
func (p *pool) take() (netip.Prefix, error) {
	for tried := uint64(0); tried < p.parts; tried++ {
		i := (p.next + tried) % p.parts
		if p.used[i] > 0 {
			continue
		}
		part := p.part(i)
		if slices.ContainsFunc(p.reserved, part.Overlaps) {
			continue
		}
		p.used[i]++
		p.next = (i + 1) % p.parts
		return part, nil
	}
	return netip.Prefix{}, errFull
}

// mark adds a user to every part that prefix touches, which may be several, or
// none when it lies outside of the network.
func (p *pool) mark(prefix netip.Prefix) {
	first, last, ok := p.touches(prefix)
	for i := first; ok && i <= last; i++ {
		p.used[i]++
	}
}

// release undoes one mark or take.
func (p *pool) release(prefix netip.Prefix) {
	first, last, ok := p.touches(prefix)
	for i := first; ok && i <= last; i++ {
		if p.used[i]--; p.used[i] <= 0 {
			delete(p.used, i)
		}
	}
}

// touches returns the first and the last part that prefix overlaps.
func (p *pool) touches(prefix netip.Prefix) (first, last uint64, ok bool) {
	if !prefix.Overlaps(p.network) {
		return 0, 0, false
	}
	if prefix.Bits() <= p.network.Bits() {
		return 0, p.parts - 1, true
	}
	first = p.index(prefix.Masked().Addr())
	if prefix.Bits() >= p.bits {
		return first, first, true
	}
	return first, first + 1<<(p.bits-prefix.Bits()) - 1, true
}

// index is the number of the part that holds addr: the address's bits between
// the network's prefix length and the part's.
func (p *pool) index(addr netip.Addr) uint64 {
	hi, lo := words(addr)
	// The index has fewer than 64 bits; those above are the network's.
	_, lo = shiftRight(hi, lo, uint(addr.BitLen()-p.bits))
	return lo & (p.parts - 1)
}

// part is the inverse of index.
func (p *pool) part(i uint64) netip.Prefix {
	addr := p.network.Addr()
	hi, lo := words(addr)
	iHi, iLo := shiftLeft(0, i, uint(addr.BitLen()-p.bits))
	return netip.PrefixFrom(fromWords(hi|iHi, lo|iLo, addr.Is4()), p.bits)
}

// words returns an address as a number of 128 bits; IPv4 is its last 32.
func words(addr netip.Addr) (hi, lo uint64) {
	if addr.Is4() {
		four := addr.As4()
		return 0, uint64(binary.BigEndian.Uint32(four[:]))
	}
	sixteen := addr.As16()
	return binary.BigEndian.Uint64(sixteen[:8]), binary.BigEndian.Uint64(sixteen[8:])
}

func fromWords(hi, lo uint64, is4 bool) netip.Addr {
	if is4 {
		var four [4]byte
		binary.BigEndian.PutUint32(four[:], uint32(lo))
		return netip.AddrFrom4(four)
	}
	var sixteen [16]byte
	binary.BigEndian.PutUint64(sixteen[:8], hi)
	binary.BigEndian.PutUint64(sixteen[8:], lo)
	return netip.AddrFrom16(sixteen)
}

// Go defines shifts of 64 and more as zero, which makes both halves right.
func shiftLeft(hi, lo uint64, n uint) (uint64, uint64) {
	if n >= 64 {
		return lo << (n - 64), 0
	}
	return hi<<n | lo>>(64-n), lo << n
}

func shiftRight(hi, lo uint64, n uint) (uint64, uint64) {
	if n >= 64 {
		return 0, hi >> (n - 64)
	}
	return hi >> n, lo>>n | hi<<(64-n)
}

// allocator keeps which node has which parts of the pools.
type allocator struct {
	pools  []*pool
	byNode map[string][]netip.Prefix
}

// assign returns the node's parts, one of each pool, taking them when the node
// has none. It changes nothing when it fails.
func (a *allocator) assign(node string) ([]netip.Prefix, error) {
	if has := a.byNode[node]; len(has) > 0 {
		return has, nil
	}
	var parts []netip.Prefix
	for _, p := range a.pools {
		part, err := p.take()
		if err != nil {
			for i, taken := range parts {
				a.pools[i].release(taken)
			}
			return nil, fmt.Errorf("cluster CIDR %s: %w", p.network, err)
		}
		parts = append(parts, part)
	}
	a.byNode[node] = parts
	return parts, nil
}

// record notes that the node has these networks, whoever gave them, in place of
// those noted before.
func (a *allocator) record(node string, networks []netip.Prefix) {
	if slices.Equal(a.byNode[node], networks) {
		return
	}
	a.forget(node)
	for _, p := range a.pools {
		for _, network := range networks {
			p.mark(network)
		}
	}
	a.byNode[node] = networks
}

// forget frees what the node had.
func (a *allocator) forget(node string) {
	for _, p := range a.pools {
		for _, network := range a.byNode[node] {
			p.release(network)
		}
	}
	delete(a.byNode, node)
}

// newAllocator cuts clusterCIDR, at most one network for each family separated
// by a comma, into parts of these prefix lengths.
func newAllocator(clusterCIDR, serviceRange string, bits4, bits6 int) (*allocator, error) {
	networks, err := parseList(clusterCIDR)
	if err != nil {
		return nil, fmt.Errorf("cluster CIDR %q: %w", clusterCIDR, err)
	}
	if len(networks) == 0 {
		return nil, errors.New("cluster CIDR: one is needed to give nodes a part of it")
	}
	if len(networks) > 2 || len(networks) == 2 && networks[0].Addr().Is4() == networks[1].Addr().Is4() {
		return nil, fmt.Errorf("cluster CIDR %q: at most one IPv4 and one IPv6 network may be given", clusterCIDR)
	}
	reserved, err := parseList(serviceRange)
	if err != nil {
		return nil, fmt.Errorf("service cluster IP range %q: %w", serviceRange, err)
	}
	a := &allocator{byNode: map[string][]netip.Prefix{}}
	for _, network := range networks {
		bits := bits6
		if network.Addr().Is4() {
			bits = bits4
		}
		p, err := newPool(network, bits, reserved)
		if err != nil {
			return nil, err
		}
		a.pools = append(a.pools, p)
	}
	return a, nil
}

func parseList(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range strings.Split(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

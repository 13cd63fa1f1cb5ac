package services

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Claims give a name to one owner. apiserver/etcd has them.
type Claims interface {
	Claim(ctx context.Context, name, owner string) (bool, error)
	Release(ctx context.Context, name, owner string) error
	List(ctx context.Context) (map[string]string, error)
}

var (
	errTaken = errors.New("provided IP is already allocated")
	errFull  = errors.New("range is full")
)

// Addresses gives out the addresses of one family: of the server's own range
// and of those that ServiceCIDRs add.
type Addresses struct {
	prefix netip.Prefix
	claims Claims
	// Further gives the ranges that were added; nil for none.
	Further func(ctx context.Context, is6 bool) ([]netip.Prefix, error)
}

// NewAddresses gives the addresses of a CIDR.
func NewAddresses(cidr string, claims Claims) (*Addresses, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, fmt.Errorf("service-cluster-ip-range %q: %w", cidr, err)
	}
	return &Addresses{prefix: p.Masked(), claims: claims}, nil
}

// Is6 says which family the range is of.
func (a *Addresses) Is6() bool { return a.prefix.Addr().Is6() }

// Claim takes the address that a client named.
func (a *Addresses) Claim(ctx context.Context, address, owner string) error {
	ip, err := netip.ParseAddr(address)
	found := false
	if err == nil {
		for r, err := range a.ranges(ctx) {
			if err != nil {
				return err
			}
			if found = r.Contains(ip) && !r.reserved(ip); found {
				break
			}
		}
	}
	if !found {
		return fmt.Errorf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", address, a.prefix)
	}
	ok, err := a.claims.Claim(ctx, ip.String(), owner)
	if err == nil && !ok {
		return errTaken
	}
	return err
}

// addressRange is one network.
type addressRange struct{ netip.Prefix }

// ranges gives the server's own range first; the others are only looked up by
// those who go on.
func (a *Addresses) ranges(ctx context.Context) iter.Seq2[addressRange, error] {
	return func(yield func(addressRange, error) bool) {
		if !yield(addressRange{a.prefix}, nil) || a.Further == nil {
			return
		}
		further, err := a.Further(ctx, a.Is6())
		if err != nil {
			yield(addressRange{}, err)
			return
		}
		for _, p := range further {
			if p != a.prefix && !yield(addressRange{p}, nil) {
				return
			}
		}
	}
}

// reserved are the network's own address and IPv4's broadcast address.
func (r addressRange) reserved(ip netip.Addr) bool {
	return ip == r.Addr() || ip.Is4() && !r.Contains(ip.Next())
}

// Next takes any address. It begins at random in the upper part of the range:
// the lower one is left for addresses that clients name (KEP-3070).
func (a *Addresses) Next(ctx context.Context, owner string) (string, error) {
	for r, err := range a.ranges(ctx) {
		if err != nil {
			return "", err
		}
		size := r.size()
		if size < 1 {
			continue
		}
		for offset := range upperFirst(size, addressBand) {
			ip := r.at(offset + 1)
			ok, err := a.claims.Claim(ctx, ip.String(), owner)
			if err != nil {
				return "", err
			}
			if ok {
				return ip.String(), nil
			}
		}
	}
	return "", errFull
}

// Release gives an address back.
func (a *Addresses) Release(ctx context.Context, address, owner string) error {
	return a.claims.Release(ctx, address, owner)
}

// size is how many addresses there are to give, no more than 2^16 in IPv6.
func (r addressRange) size() int64 {
	bits := r.Addr().BitLen() - r.Bits()
	if bits > 32 {
		bits = 32
	}
	n := int64(1)<<bits - 1
	if r.Addr().Is4() {
		n-- // broadcast
	}
	return n
}

// upperFirst gives the numbers below size: those above the band, from
// any of them once round, then those in it.
func upperFirst(size int64, b band) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		lower := b.of(size)
		upper := size - lower
		begin := rand.Int64N(upper) //nolint:gosec // an address is no secret
		for i := range upper {
			if !yield(lower + (begin+i)%upper) {
				return
			}
		}
		for i := range lower {
			if !yield(i) {
				return
			}
		}
	}
}

// band is how much of a range is left, as long as there is other, for those
// who choose: a share of it within bounds, and nothing of a range that is
// smaller than the least.
type band struct{ share, most int64 }

const leastBand = 16

var (
	addressBand = band{share: 16, most: 256} // KEP-3070
	portBand    = band{share: 32, most: 128} // KEP-3668
)

func (b band) of(size int64) int64 {
	if size <= leastBand {
		return 0
	}
	return min(max(leastBand, size/b.share), b.most)
}

func (r addressRange) at(offset int64) netip.Addr {
	base := new(big.Int).SetBytes(r.Addr().AsSlice())
	sum := base.Add(base, big.NewInt(offset)).FillBytes(make([]byte, r.Addr().BitLen()/8))
	ip, _ := netip.AddrFromSlice(sum)
	return ip
}

// Ports gives out node ports.
type Ports struct {
	ports  utilnet.PortRange
	claims Claims
}

// NewPorts gives the ports of a range, "30000-32767".
func NewPorts(s string, claims Claims) (*Ports, error) {
	r, err := utilnet.ParsePortRange(s)
	if err != nil {
		return nil, fmt.Errorf("service-node-port-range %q: %w", s, err)
	}
	return &Ports{*r, claims}, nil
}

// Claim takes the port that a client named.
func (p *Ports) Claim(ctx context.Context, port int32, owner string) error {
	if !p.ports.Contains(int(port)) {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", strings.TrimSpace(p.ports.String()))
	}
	ok, err := p.claims.Claim(ctx, strconv.Itoa(int(port)), owner)
	if err == nil && !ok {
		return errors.New("provided port is already allocated")
	}
	return err
}

// Next takes any port but those in avoid, which the owner has already.
func (p *Ports) Next(ctx context.Context, owner string, avoid map[int32]bool) (int32, error) {
	for offset := range upperFirst(int64(p.ports.Size), portBand) {
		port := int32(p.ports.Base) + int32(offset) //nolint:gosec // a port is below 65536
		if avoid[port] {
			continue
		}
		ok, err := p.claims.Claim(ctx, strconv.Itoa(int(port)), owner)
		if err != nil {
			return 0, err
		}
		if ok {
			return port, nil
		}
	}
	return 0, errFull
}

// Release gives a port back.
func (p *Ports) Release(ctx context.Context, port int32, owner string) error {
	return p.claims.Release(ctx, strconv.Itoa(int(port)), owner)
}

// rehearsal gives out what the allocator would, and nobody has it then: what a
// dry run answers with.
func (a *Allocator) rehearsal() *Allocator {
	out := &Allocator{Ports: &Ports{a.Ports.ports, &rehearsed{Claims: a.Ports.claims}}}
	for _, r := range a.Addresses {
		out.Addresses = append(out.Addresses, &Addresses{prefix: r.prefix, claims: &rehearsed{Claims: r.claims}, Further: r.Further})
	}
	return out
}

// rehearsed are claims that are not written.
type rehearsed struct {
	Claims
	taken map[string]string
}

// Claim implements Claims.
func (r *rehearsed) Claim(ctx context.Context, name, owner string) (bool, error) {
	if r.taken == nil {
		taken, err := r.List(ctx)
		if err != nil {
			return false, err
		}
		r.taken = taken
	}
	if holder, ok := r.taken[name]; ok {
		return holder == owner, nil
	}
	r.taken[name] = owner
	return true, nil
}

// Release implements Claims.
func (r *rehearsed) Release(context.Context, string, string) error { return nil }

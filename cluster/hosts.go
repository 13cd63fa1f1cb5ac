package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Hosts are what stands for the machines of a cluster when several nodes share
// one: a network namespace each, joined by bridges.
//
//	machine ── skiff-<id>-0 (bridge, .1) ──┬── veth ── eth0 of host a (.2)
//	        │                              └── veth ── eth0 of host b (.3)
//	        └─ skiff-<id>-1 (bridge, .1) ───── veth ── eth0 of host c (.2)
//
// The machine routes between the bridges and masquerades what leaves them.
// Namespaces are kept by mounts below the data directory; what there is of a
// cluster's hosts is in one file, so that each has the same address for good.

// hostsFile is below the data directory.
const hostsFile = "hosts.json"

// hostsPlan is the file's content: what hosts there are, and where.
type hostsPlan struct {
	// ID is in the names of links, which are the machine's: of this data
	// directory and no other.
	ID string `json:"id"`
	// Networks have 254 hosts each; the first address is the machine's.
	Networks []netip.Prefix `json:"networks"`
	// IPv6 gives each network and host an address of that family as well, which
	// follows from the others.
	IPv6  bool            `json:"ipv6,omitempty"`
	Hosts map[string]host `json:"hosts"`
}

// host is one of them.
type host struct {
	Network int        `json:"network"`
	Address netip.Addr `json:"address"`
}

// hostNetworks are what networks of hosts are chosen from: few others use them.
var hostNetworks = netip.MustParsePrefix("192.168.128.0/17")

// planHosts adds names to what there is, each to the network of its index in
// networks. New networks overlap nothing that is taken.
func planHosts(old hostsPlan, dir string, names []string, networks []int, taken []netip.Prefix) (hostsPlan, error) {
	plan := hostsPlan{ID: old.ID, IPv6: old.IPv6, Networks: slices.Clone(old.Networks), Hosts: map[string]host{}}
	used := map[netip.Addr]bool{}
	for name, h := range old.Hosts {
		plan.Hosts[name], used[h.Address] = h, true
	}
	if plan.ID == "" {
		sum := sha256.Sum256([]byte(dir))
		plan.ID = hex.EncodeToString(sum[:3])
	}
	taken = append(slices.Clone(taken), plan.Networks...)
	for i, name := range names {
		if _, ok := plan.Hosts[name]; ok {
			continue
		}
		for len(plan.Networks) <= networks[i] {
			free, err := freeNetwork(taken)
			if err != nil {
				return hostsPlan{}, err
			}
			plan.Networks, taken = append(plan.Networks, free), append(taken, free)
		}
		in := plan.Networks[networks[i]]
		address := in.Addr().Next().Next() // after the machine's
		for used[address] {
			address = address.Next()
		}
		if !in.Contains(address.Next()) { // the last is for broadcasts
			return hostsPlan{}, fmt.Errorf("network %s of the hosts is full", in)
		}
		plan.Hosts[name], used[address] = host{networks[i], address}, true
	}
	return plan, nil
}

func freeNetwork(taken []netip.Prefix) (netip.Prefix, error) {
	for a := hostNetworks.Addr(); hostNetworks.Contains(a); {
		p := netip.PrefixFrom(a, 24)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, nil
		}
		b := a.As4()
		b[2]++
		if b[2] == 0 {
			break
		}
		a = netip.AddrFrom4(b)
	}
	return netip.Prefix{}, fmt.Errorf("all of %s is in use on this machine: there is no network for hosts", hostNetworks)
}

func (p *hostsPlan) bridge(network int) string { return fmt.Sprintf("skiff-%s-%d", p.ID, network) }

// uplink names the machine's end of a host's link, by its address: 15
// characters at most.
func (p *hostsPlan) uplink(h host) string {
	b := h.Address.As4()
	return fmt.Sprintf("skiff%s%x%02x", p.ID, h.Network, b[3])
}

// machine is the machine's address in a network of hosts.
func machine(network netip.Prefix) netip.Addr { return network.Addr().Next() }

// network6 is a network of hosts in IPv6: of the addresses that each site may
// choose for itself (RFC 4193), by the ID.
func (p *hostsPlan) network6(network int) netip.Prefix {
	id, _ := hex.DecodeString(p.ID) // written by planHosts
	a := [16]byte{0: 0xfd, 1: 0x5c, 6: byte(network >> 8), 7: byte(network)}
	copy(a[2:5], id)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// address6 ends as the host's other address does.
func (p *hostsPlan) address6(h host) netip.Addr {
	a, b := p.network6(h.Network).Addr().As16(), h.Address.As4()
	a[15] = b[3]
	return netip.AddrFrom16(a)
}

// addresses are a host's own, in the order of the families of the pods' networks.
func (p *hostsPlan) addresses(h host, pods []netip.Prefix) string {
	var out []string
	for _, n := range pods {
		if n.Addr().Is6() {
			out = append(out, p.address6(h).String())
		} else {
			out = append(out, h.Address.String())
		}
	}
	return strings.Join(out, ",")
}

// links are the networks that a host is on, with its address there.
func (p *hostsPlan) links(h host) map[netip.Prefix]netip.Addr {
	out := map[netip.Prefix]netip.Addr{p.Networks[h.Network]: h.Address}
	if p.IPv6 {
		out[p.network6(h.Network)] = p.address6(h)
	}
	return out
}

// readHosts gives what hosts a cluster has; none is no error.
func readHosts(dir string) (hostsPlan, error) {
	raw, err := os.ReadFile(filepath.Join(dir, hostsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return hostsPlan{}, nil
	}
	var p hostsPlan
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		return hostsPlan{}, fmt.Errorf("hosts of the cluster: %w", err)
	}
	return p, nil
}

// write keeps the plan before anything is made by it: what is made can always
// be found again.
func (p *hostsPlan) write(dir string) error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, hostsFile)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("hosts of the cluster: %w", err)
	}
	return os.Rename(path+".new", path)
}

// HasHosts says whether the nodes of the cluster in dir have hosts of their own.
func HasHosts(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, hostsFile))
	return err == nil
}

// hostNS is the file that keeps a host's network namespace.
func hostNS(dir, name string) string { return filepath.Join(dir, "hosts", name) }

// hostCgroup is before the cgroups of a host's pods.
func hostCgroup(id, name string) string { return "skiff-" + id + "-" + name }

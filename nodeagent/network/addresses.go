package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// addresses gives out the addresses of a node's pod CIDRs, each to one pod at
// a time. What is given out is on disk before anybody uses it: no address is
// given twice, also after a crash. A freed address is the last to be given
// again, so that late packets for the old pod don't reach a new one.
type addresses struct {
	file string // empty to keep nothing on disk

	mu    sync.Mutex
	cidrs []netip.Prefix
	pods  map[string][]netip.Addr
	ports map[string][]HostPort // by pod
	used  map[netip.Addr]bool
	last  map[netip.Prefix]netip.Addr // given most recently
}

// addressFile is the file's content.
type addressFile struct {
	Pods      map[string][]netip.Addr `json:"pods"`
	HostPorts map[string][]HostPort   `json:"hostPorts,omitempty"`
	Last      []netip.Addr            `json:"last"`
}

func newAddresses(file string) *addresses {
	return &addresses{file: file, pods: map[string][]netip.Addr{}, ports: map[string][]HostPort{}, used: map[netip.Addr]bool{}, last: map[netip.Prefix]netip.Addr{}}
}

// setCIDRs takes the node's CIDRs and what was given out of them before.
func (a *addresses) setCIDRs(cidrs []netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(a.cidrs, cidrs) {
		return nil
	}
	var saved addressFile
	if a.file != "" {
		data, err := os.ReadFile(a.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read given addresses: %w", err)
		}
		if err == nil {
			if err := json.Unmarshal(data, &saved); err != nil {
				return fmt.Errorf("read given addresses from %s: %w", a.file, err)
			}
		}
	}
	a.cidrs = cidrs
	for id, ips := range saved.Pods {
		a.pods[id] = ips
		for _, ip := range ips {
			a.used[ip] = true
		}
	}
	for id, ports := range saved.HostPorts {
		a.ports[id] = ports
	}
	for _, ip := range saved.Last {
		for _, c := range cidrs {
			if c.Contains(ip) {
				a.last[c] = ip
			}
		}
	}
	return nil
}

func (a *addresses) ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cidrs) == 0 {
		return ErrNotReady
	}
	return nil
}

// gateway is the first address of a CIDR: the bridge's.
func gateway(c netip.Prefix) netip.Addr { return c.Masked().Addr().Next() }

// reserve gives a pod one address of each CIDR.
func (a *addresses) reserve(podID string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ips, ok := a.pods[podID]; ok {
		return slices.Clone(ips), nil
	}
	if len(a.cidrs) == 0 {
		return nil, ErrNotReady
	}
	ips := make([]netip.Addr, 0, len(a.cidrs))
	for _, c := range a.cidrs {
		ip, ok := nextFree(c, a.last[c], a.used)
		if !ok {
			return nil, fmt.Errorf("no IP addresses available in range set: %s-%s", gateway(c), last(c))
		}
		ips = append(ips, ip)
	}
	a.pods[podID] = ips
	if err := a.save(ips); err != nil {
		delete(a.pods, podID)
		return nil, err
	}
	for i, c := range a.cidrs {
		a.used[ips[i]] = true
		a.last[c] = ips[i]
	}
	return slices.Clone(ips), nil
}

// moved says that one of a pod's addresses is of none of the node's CIDRs.
func moved(ips []netip.Addr, cidrs []netip.Prefix) bool {
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool {
		return !slices.ContainsFunc(cidrs, func(c netip.Prefix) bool { return c.Contains(ip) })
	})
}

// nextFree gives the first free address after the one given last, round the
// CIDR; network, gateway and broadcast are never given.
func nextFree(c netip.Prefix, after netip.Addr, used map[netip.Addr]bool) (netip.Addr, bool) {
	first, end := gateway(c).Next(), last(c)
	if c.Addr().Is6() {
		end = end.Next() // no broadcast in version 6
	}
	between := func(from, to netip.Addr) (netip.Addr, bool) {
		for ip := from; ip.IsValid() && ip != to && c.Contains(ip); ip = ip.Next() {
			if !used[ip] {
				return ip, true
			}
		}
		return netip.Addr{}, false
	}
	if after.IsValid() && !after.Less(first) && c.Contains(after) {
		if ip, ok := between(after.Next(), end); ok {
			return ip, true
		}
	}
	return between(first, end)
}

// last is the highest address of a CIDR.
func last(c netip.Prefix) netip.Addr {
	b := c.Masked().Addr().AsSlice()
	for i := c.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	ip, _ := netip.AddrFromSlice(b) // as long as it was
	return ip
}

func (a *addresses) release(podID string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ips, ok := a.pods[podID]
	if !ok {
		return nil
	}
	delete(a.pods, podID)
	delete(a.ports, podID)
	if err := a.save(nil); err != nil {
		a.pods[podID] = ips
		return err
	}
	for _, ip := range ips {
		delete(a.used, ip)
	}
	return nil
}

// setPorts keeps the host ports of a pod that holds addresses.
func (a *addresses) setPorts(podID string, ports []HostPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(a.ports[podID], ports) {
		return nil
	}
	a.ports[podID] = ports
	if len(ports) == 0 {
		delete(a.ports, podID)
	}
	return a.save(nil)
}

// eachPort calls f for every pod with host ports.
func (a *addresses) eachPort(f func(podID string, ips []netip.Addr, ports []HostPort)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, ports := range a.ports {
		f(id, a.pods[id], ports)
	}
}

func (a *addresses) of(podID string) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.pods[podID])
}

func (a *addresses) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make([]string, 0, len(a.pods))
	for id := range a.pods {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// save writes the file as a whole; recent were given just now. It is not
// synced to disk: when the machine goes down, the pods go with it.
func (a *addresses) save(recent []netip.Addr) error {
	if a.file == "" {
		return nil
	}
	content := addressFile{Pods: a.pods, HostPorts: a.ports}
	for i, c := range a.cidrs {
		ip := a.last[c]
		if i < len(recent) {
			ip = recent[i]
		}
		if ip.IsValid() {
			content.Last = append(content.Last, ip)
		}
	}
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("keep given addresses: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(a.file), 0o755); err != nil {
		return fmt.Errorf("keep given addresses: %w", err)
	}
	if err := os.WriteFile(a.file+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("keep given addresses: %w", err)
	}
	if err := os.Rename(a.file+".tmp", a.file); err != nil {
		return fmt.Errorf("keep given addresses: %w", err)
	}
	return nil
}

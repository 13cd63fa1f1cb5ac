package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/dump"
)

// ensureHosts makes what is missing of the hosts' networks and namespaces. All
// of it outlives this process, as the containers do that use it.
func ensureHosts(dir string, p *hostsPlan) error {
	for i, n := range p.Networks {
		on := []netip.Prefix{n}
		if p.IPv6 {
			on = append(on, p.network6(i))
		}
		if err := ensureHostNetwork(p.bridge(i), on); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "hosts"), 0o711); err != nil {
		return fmt.Errorf("hosts: %w", err)
	}
	for name, h := range p.Hosts {
		if err := ensureHost(hostNS(dir, name), p, h); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
	}
	forwarding := []string{"ipv4/ip_forward"}
	if p.IPv6 {
		forwarding = append(forwarding, "ipv6/conf/all/forwarding")
	}
	for _, name := range forwarding {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte("1"), 0o644); err != nil {
			return fmt.Errorf("have this machine route between hosts: %w", err)
		}
	}
	return writeHostRules(p)
}

// takenNetworks are those that this machine knows a way to.
func takenNetworks() ([]netip.Prefix, error) {
	routes, err := dump.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ip, _ := netip.AddrFromSlice(r.Dst.IP) // the kernel's
		if bits, _ := r.Dst.Mask.Size(); bits > 0 {
			out = append(out, netip.PrefixFrom(ip.Unmap(), bits))
		}
	}
	return out, nil
}

func ensureHostNetwork(name string, on []netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	// An address of its own: else it takes the lowest of its ports', which come
	// and go.
	b := machine(on[0]).As4()
	attrs.HardwareAddr = net.HardwareAddr{0x0a, 0x5a, b[0], b[1], b[2], b[3]}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("make bridge %s: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", name, err)
	}
	for _, n := range on {
		if err := netlink.AddrReplace(link, hostAddr(machine(n), n.Bits())); err != nil {
			return fmt.Errorf("set address %s of bridge %s: %w", machine(n), name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return nil
}

// hostAddr is one that nobody else has, and that is not looked for at others.
func hostAddr(a netip.Addr, bits int) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(a, bits)}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

// ensureHost makes a host's namespace and its link.
func ensureHost(path string, p *hostsPlan, h host) error {
	if !isNamespace(path) {
		if err := makeNamespace(path); err != nil {
			return err
		}
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open its network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter its network namespace: %w", err)
	}
	defer inside.Close()
	bridge, err := netlink.LinkByName(p.bridge(h.Network))
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", p.bridge(h.Network), err)
	}
	if _, err := inside.LinkByName("eth0"); err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = p.uplink(h), bridge.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}); err != nil {
			return fmt.Errorf("make link %s: %w", attrs.Name, err)
		}
	}
	uplink, err := netlink.LinkByName(p.uplink(h))
	if err != nil {
		return fmt.Errorf("find link %s: %w", p.uplink(h), err)
	}
	if err := netlink.LinkSetMaster(uplink, bridge); err != nil {
		return fmt.Errorf("put link %s on its bridge: %w", p.uplink(h), err)
	}
	if err := netlink.LinkSetUp(uplink); err != nil {
		return fmt.Errorf("set link %s up: %w", p.uplink(h), err)
	}
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		if name == "eth0" {
			for n, a := range p.links(h) {
				if err := inside.AddrReplace(link, hostAddr(a, n.Bits())); err != nil {
					return fmt.Errorf("set address %s: %w", a, err)
				}
			}
		}
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("set link %s up: %w", name, err)
		}
	}
	for n := range p.links(h) {
		all := netip.IPv4Unspecified()
		if n.Addr().Is6() {
			all = netip.IPv6Unspecified()
		}
		if err := inside.RouteReplace(&netlink.Route{Dst: ipNet(all, 0), Gw: machine(n).AsSlice()}); err != nil {
			return fmt.Errorf("set default route to %s: %w", machine(n), err)
		}
	}
	return nil
}

// isNamespace says whether a file keeps a namespace: after a reboot it does not.
func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// makeNamespace makes a network namespace and keeps it by a mount on a file.
func makeNamespace(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("keep a network namespace: %w", err)
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep a network namespace: %w", err)
		}
		return nil
	})
}

// onOwnThread runs f in a thread that ends with it. The process's first thread
// is spared: it can't end, and others take its namespaces for the process's.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			result <- onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f() // never unlocked: the thread ends with the goroutine
	}()
	return <-result
}

// onHost runs f in a host's network namespace. What f starts in other
// goroutines is not there.
func onHost(path string, f func() error) error {
	return onOwnThread(func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// startOnHost starts a process in a host's network namespace, with a host's name
// of its own. A process begins where the thread is that starts it.
func startOnHost(path string, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWUTS}
	return onHost(path, cmd.Start)
}

// setHostname names the host that this process was started on.
func setHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host's name: %w", err)
	}
	return nil
}

func hostRules(p *hostsPlan, family nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Family: family, Name: "skiff-hosts-" + p.ID}
}

// writeHostRules masquerades what leaves the hosts' networks.
func writeHostRules(p *hostsPlan) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	var bridges []string
	for i := range p.Networks {
		bridges = append(bridges, p.bridge(i))
	}
	masquerade(c, hostRules(p, nftables.TableFamilyIPv4), p.Networks, bridges)
	if p.IPv6 {
		var networks []netip.Prefix
		for i := range p.Networks {
			networks = append(networks, p.network6(i))
		}
		masquerade(c, hostRules(p, nftables.TableFamilyIPv6), networks, bridges)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade of hosts: %w", err)
	}
	return nil
}

// masquerade leaves alone what goes out by a bridge of the hosts. That is for
// another host or a pod on it, and comes this way even within one bridge where
// the machine has net.bridge.bridge-nf-call-iptables.
func masquerade(c *nftables.Conn, t *nftables.Table, networks []netip.Prefix, bridges []string) {
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	for _, from := range networks {
		exprs := inNetwork(from, true, expr.CmpOpEq)
		for _, to := range networks {
			exprs = append(exprs, inNetwork(to, false, expr.CmpOpNeq)...)
		}
		for _, b := range bridges {
			exprs = append(exprs, notOutBy(b)...)
		}
		if from.Addr().Is6() { // what is for the link or for many stays as it is
			exprs = append(exprs, inNetwork(netip.MustParsePrefix("2000::/3"), false, expr.CmpOpEq)...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(exprs, &expr.Masq{})})
	}
}

func notOutBy(link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

// inNetwork compares the source or the target address; the offsets are those of
// RFC 791 and RFC 8200.
func inNetwork(n netip.Prefix, source bool, op expr.CmpOp) []expr.Any {
	size := uint32(n.Addr().BitLen() / 8)
	offset := map[uint32]uint32{4: 16, 16: 24}[size]
	if source {
		offset -= size
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(n.Bits(), n.Addr().BitLen()), Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: n.Addr().AsSlice()},
	}
}

// removeHosts takes away all that ensureHosts has made. Nothing may run on the
// hosts any more. A namespace that is gone takes its links with it.
func removeHosts(dir string, p *hostsPlan) error {
	var errs []error
	for name, h := range p.Hosts {
		path := hostNS(dir, name)
		// A mount may be there more than once, of a start that was cut off.
		for unix.Unmount(path, unix.MNT_DETACH) == nil { //nolint:revive // The condition does the work.
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove namespace of host %s: %w", name, err))
		}
		errs = append(errs, deleteLink(p.uplink(h)))
	}
	for i := range p.Networks {
		errs = append(errs, deleteLink(p.bridge(i)))
	}
	c, err := nftables.New()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		c.AddTable(hostRules(p, family))
		c.DelTable(hostRules(p, family))
	}
	return errors.Join(append(errs, c.Flush())...)
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/conntrack"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
	"github.com/skiffcluster/skiff/proxier/nftables"
	"github.com/skiffcluster/skiff/proxier/sysctl"
)

// ErrMissing is why Open fails where the kernel has no IPVS.
var ErrMissing = errors.New("this kernel has no IPVS (/proc/net/ip_vs is missing and the module ip_vs cannot be loaded)")

// DrainTime is how long a server that goes may keep connections before it is
// removed nevertheless: kube-proxy's.
const DrainTime = 15 * time.Minute

// Config is what the backend needs to know.
type Config struct {
	backend.Config
	// Scheduler is IPVS's scheduler; rr when empty.
	Scheduler string
	// Now returns the time; time.Now when nil.
	Now func() time.Time
}

// Backend balances in IPVS.
type Backend struct {
	cfg    Config
	ipvs   *ipvs.Handle
	links  *netlink.Handle
	link   netlink.Link // with the service addresses
	conn   *nft.Conn
	store  *nft.Store
	tables map[corev1.IPFamily]*table
	given  map[string]*model.Service
	stale  conntrack.Cleaner

	local   []netip.Addr       // addresses that serve node ports
	want    map[place]*virtual // as planned
	have    map[place]*virtual // as the kernel has it, as far as we know
	bound   map[netip.Addr]int // services that need the address on the link
	drained map[place]map[netip.AddrPort]time.Time
	sure    bool // have is what the kernel has
}

var _ backend.Backend = (*Backend)(nil)

// Available tells whether the kernel has IPVS, loading its module if it is one.
func Available() bool {
	const proof = "/proc/net/ip_vs"
	if _, err := os.Stat(proof); err == nil {
		return true
	}
	// moby/ipvs would report success of everything without IPVS.
	if err := exec.Command("modprobe", "-a", "ip_vs", "ip_vs_rr", "nf_conntrack").Run(); err != nil {
		return false
	}
	_, err := os.Stat(proof)
	return err == nil
}

// Open connects to the kernel and prepares sysctls and the link. It returns
// ErrMissing where IPVS is missing.
func Open(cfg Config) (*Backend, error) {
	if !Available() {
		return nil, ErrMissing
	}
	if cfg.Scheduler == "" {
		cfg.Scheduler = "rr"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := &Backend{
		cfg: cfg,
		tables: map[corev1.IPFamily]*table{
			corev1.IPv4Protocol: newTable(nft.IP, cfg.Config),
			corev1.IPv6Protocol: newTable(nft.IP6, cfg.Config),
		},
		given:   map[string]*model.Service{},
		stale:   conntrack.Cleaner{NetNS: cfg.NetNS},
		want:    map[place]*virtual{},
		have:    map[place]*virtual{},
		bound:   map[netip.Addr]int{},
		drained: map[place]map[netip.AddrPort]time.Time{},
	}
	if err := b.open(); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Backend) open() error {
	var err error
	if b.ipvs, err = ipvs.New(b.cfg.NetNS); err != nil {
		return fmt.Errorf("open IPVS: %w", err)
	}
	if err = b.probeScheduler(); err != nil {
		return err
	}
	if b.links, err = openLinks(b.cfg.NetNS); err != nil {
		return err
	}
	if b.conn, err = nft.Open(b.cfg.NetNS); err != nil {
		return err
	}
	b.store = nft.NewStore(b.conn, b.tables[corev1.IPv4Protocol].layout(), b.tables[corev1.IPv6Protocol].layout())
	return sysctl.Set(b.cfg.NetNS,
		// Without it nothing that IPVS forwards can be masqueraded.
		sysctl.Setting{Name: "net.ipv4.vs.conntrack", Value: "1"},
		// A client whose server is gone gets another at once; so does a new
		// connection from a used port when the old one's server has weight 0.
		// With that, reuse of ports needs no rescheduling of its own, which
		// would cost a second for each.
		sysctl.Setting{Name: "net.ipv4.vs.expire_nodest_conn", Value: "1"},
		sysctl.Setting{Name: "net.ipv4.vs.conn_reuse_mode", Value: "0"},
		// Clients with affinity leave a server that drains.
		sysctl.Setting{Name: "net.ipv4.vs.expire_quiescent_template", Value: "1"},
		sysctl.Setting{Name: "net.ipv4.ip_forward", Value: "1"},
		sysctl.Setting{Name: "net.bridge.bridge-nf-call-iptables", Value: "1", Optional: true},
		sysctl.Setting{Name: "net.bridge.bridge-nf-call-ip6tables", Value: "1", Optional: true},
	)
}

// probeScheduler fails where the kernel lacks the scheduler, with a virtual
// server that no packet can mean.
func (b *Backend) probeScheduler() error {
	nobody := &ipvs.Service{FWMark: 1<<32 - 2, SchedName: b.cfg.Scheduler, AddressFamily: unix.AF_INET, Netmask: 0xffffffff}
	err := b.ipvs.NewService(nobody)
	switch {
	case err == nil || errors.Is(err, unix.EEXIST):
		return b.ipvs.DelService(nobody)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("this kernel has no IPVS scheduler %q (module ip_vs_%s)", b.cfg.Scheduler, b.cfg.Scheduler)
	}
	return fmt.Errorf("try IPVS scheduler %q: %w", b.cfg.Scheduler, err)
}

func openLinks(path string) (*netlink.Handle, error) {
	ns := netns.None()
	if path != "" {
		var err error
		if ns, err = netns.GetFromPath(path); err != nil {
			return nil, fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
	}
	// The route family alone: others may be missing in the kernel.
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}

// Apply implements backend.Backend.
func (b *Backend) Apply(_ context.Context, changes []model.Change) error {
	var before, after []nft.Entry
	touched := map[place]bool{}
	var bind, unbind []netip.Addr
	if !b.sure {
		if err := b.readLocal(); err != nil {
			return err
		}
	}
	for _, c := range changes {
		old := b.given[c.Key]
		before = b.appendEntries(before, old, (*nftables.Inside).Remove)
		for p := range plan(old, b.cfg.Scheduler, b.local) {
			delete(b.want, p)
			touched[p] = true
		}
		for a := range vips(old) {
			if b.bound[a]--; b.bound[a] == 0 {
				delete(b.bound, a)
				unbind = append(unbind, a)
			}
		}
		b.stale.Note(old, c.Service)
	}
	for _, c := range changes {
		after = b.appendEntries(after, c.Service, (*nftables.Inside).Add)
		for p, v := range plan(c.Service, b.cfg.Scheduler, b.local) {
			b.want[p] = v
			touched[p] = true
		}
		for a := range vips(c.Service) {
			b.bound[a]++
			bind = append(bind, a)
		}
		if c.Service == nil {
			delete(b.given, c.Key)
		} else {
			b.given[c.Key] = c.Service
		}
	}
	if err := b.write(before, after, touched, bind, unbind); err != nil {
		b.sure = false
		return fmt.Errorf("write IPVS for %d services: %w", len(changes), err)
	}
	return b.forget()
}

// forget removes what the kernel remembers of servers that are gone.
func (b *Backend) forget() error {
	for _, t := range b.tables {
		if err := t.inside.Forget(b.store); err != nil {
			return fmt.Errorf("remove clients of servers that are gone: %w", err)
		}
	}
	return b.stale.Clean()
}

// picked are the chains that entries go to.
func (b *Backend) picked() map[nft.Table][]*nft.Chain {
	out := map[nft.Table][]*nft.Chain{}
	for _, t := range b.tables {
		out[t.ref] = t.inside.Picked()
	}
	return out
}

func (b *Backend) write(before, after []nft.Entry, touched map[place]bool, bind, unbind []netip.Addr) error {
	if !b.sure {
		if err := b.adopt(); err != nil {
			return err
		}
		if err := b.store.Update(before, after, b.picked()); err != nil {
			return err
		}
		_, err := b.repair()
		return err
	}
	if err := b.bind(bind); err != nil {
		return err
	}
	if err := b.store.Update(before, after, b.picked()); err != nil {
		return err
	}
	for p := range touched {
		if _, err := b.reconcile(p); err != nil {
			return err
		}
	}
	return b.unbind(unbind)
}

func (b *Backend) appendEntries(out []nft.Entry, s *model.Service, inside func(*nftables.Inside, []nft.Entry, *model.Port) []nft.Entry) []nft.Entry {
	if s == nil {
		return out
	}
	for i := range s.Ports {
		t := b.tables[s.Ports[i].Family]
		out = inside(t.inside, append(out, t.entries(&s.Ports[i])...), &s.Ports[i])
	}
	return out
}

// Check implements backend.Backend.
func (b *Backend) Check(context.Context) (int, error) {
	was := b.local
	if err := b.readLocal(); err != nil {
		return 0, err
	}
	if !slices.Equal(was, b.local) {
		clear(b.want)
		for _, s := range b.given {
			maps.Copy(b.want, plan(s, b.cfg.Scheduler, b.local))
		}
	}
	n, err := b.store.Check()
	if err != nil {
		return n, fmt.Errorf("check nftables: %w", err)
	}
	m, err := b.repair()
	if err != nil {
		return n + m, fmt.Errorf("check IPVS: %w", err)
	}
	if err := b.removeDrained(); err != nil {
		return n + m, err
	}
	return n + m, b.forget()
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	if b.ipvs != nil {
		b.ipvs.Close()
	}
	if b.links != nil {
		b.links.Close()
	}
	if b.conn != nil {
		return b.conn.Close()
	}
	return nil
}

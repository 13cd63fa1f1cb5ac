package nftables

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/conntrack"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
	"github.com/skiffcluster/skiff/proxier/sysctl"
)

// Backend balances in nftables.
type Backend struct {
	cfg    backend.Config
	conn   *nft.Conn
	store  *nft.Store
	tables map[corev1.IPFamily]*table
	given  map[string]*model.Service
	sticky sticky
	stale  conntrack.Cleaner
}

var _ backend.Backend = (*Backend)(nil)

// Open connects to the kernel; it fails where nftables is missing. Nothing is
// written before the first Apply.
func Open(cfg backend.Config) (*Backend, error) {
	conn, err := nft.Open(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	if err := sysctl.Set(cfg.NetNS,
		sysctl.Setting{Name: "net.ipv4.ip_forward", Value: "1"},
		// Without it a pod is not answered by a service whose endpoint is on the same bridge.
		sysctl.Setting{Name: "net.bridge.bridge-nf-call-iptables", Value: "1", Optional: true},
		sysctl.Setting{Name: "net.bridge.bridge-nf-call-ip6tables", Value: "1", Optional: true},
	); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	b := &Backend{
		cfg:  cfg,
		conn: conn,
		tables: map[corev1.IPFamily]*table{
			corev1.IPv4Protocol: newTable(nft.IP, cfg),
			corev1.IPv6Protocol: newTable(nft.IP6, cfg),
		},
		given:  map[string]*model.Service{},
		sticky: newSticky(),
		stale:  conntrack.Cleaner{NetNS: cfg.NetNS},
	}
	b.store = nft.NewStore(conn, b.tables[corev1.IPv4Protocol].layout(), b.tables[corev1.IPv6Protocol].layout())
	return b, nil
}

// Apply implements backend.Backend.
func (b *Backend) Apply(_ context.Context, changes []model.Change) error {
	var before, after []nft.Entry
	chains := newChains()
	for _, c := range changes {
		old := b.given[c.Key]
		b.eachBranch(old, func(t *table, w *branch) {
			before = w.entries(before)
			b.sticky.remove(t, w)
		})
		before = b.appendFirewall(before, old)
		b.stale.Note(old, c.Service)
	}
	for _, c := range changes {
		b.eachBranch(c.Service, func(t *table, w *branch) {
			after = w.entries(after)
			b.sticky.add(t, w)
			chains.need(t, w)
		})
		after = b.appendFirewall(after, c.Service)
		if c.Service == nil {
			delete(b.given, c.Key)
		} else {
			b.given[c.Key] = c.Service
		}
	}
	if err := b.store.Update(before, after, chains.list); err != nil {
		return fmt.Errorf("write nftables for %d services: %w", len(changes), err)
	}
	return b.forget()
}

// forget removes what the kernel remembers of servers that are gone.
func (b *Backend) forget() error {
	if err := b.sticky.clean(b.store); err != nil {
		return fmt.Errorf("remove clients of servers that are gone: %w", err)
	}
	return b.stale.Clean()
}

func (b *Backend) eachBranch(s *model.Service, f func(*table, *branch)) {
	if s == nil {
		return
	}
	for i := range s.Ports {
		t := b.tables[s.Ports[i].Family]
		for _, w := range t.branches(&s.Ports[i]) {
			f(t, &w)
		}
	}
}

func (b *Backend) appendFirewall(out []nft.Entry, s *model.Service) []nft.Entry {
	if s == nil {
		return out
	}
	for i := range s.Ports {
		out = append(out, b.tables[s.Ports[i].Family].fw.Entries(&s.Ports[i])...)
	}
	return out
}

// Check implements backend.Backend.
func (b *Backend) Check(context.Context) (int, error) {
	n, err := b.store.Check()
	if err != nil {
		return n, fmt.Errorf("check nftables: %w", err)
	}
	return n, b.forget()
}

// Close implements backend.Backend.
func (b *Backend) Close() error { return b.conn.Close() }

// Cleanup removes our tables from the network namespace at path.
func Cleanup(path string) error {
	conn, err := nft.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := nft.Remove(conn, nft.Table{Family: nft.IP, Name: TableName}, nft.Table{Family: nft.IP6, Name: TableName}); err != nil {
		return fmt.Errorf("remove tables %s: %w", TableName, err)
	}
	return nil
}

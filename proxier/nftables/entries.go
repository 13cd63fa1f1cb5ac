package nftables

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
)

// branch is the way from one place to one pool.
type branch struct {
	pick
	key      []byte // the place, as the group's keys begin
	pool     []model.Endpoint
	affinity time.Duration
}

// branches returns the ways that one port of a service needs.
func (t *table) branches(p *model.Port) []branch {
	var out []branch
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		if p.Refused(fe) {
			continue
		}
		group, inside := t.services, t.insideServices
		key := firewall.PlaceKey(fe.Addr, p.Protocol, fe.Port)
		if fe.Kind == model.NodePort {
			group, inside = t.nodePorts, t.insideNodePorts
			key = firewall.PortKey(p.Protocol, fe.Port)
		}
		masq := elsewhere
		if fe.Kind != model.ClusterIP {
			masq = always
			if fe.Local {
				// Outside clients keep their address; the node and its pods are
				// served as if they had used the cluster IP.
				masq = never
				out = append(out, newBranch(inside, elsewhere, key, p.Cluster, p))
			}
		}
		out = append(out, newBranch(group, masq, key, p.Outside(fe), p))
	}
	return out
}

func newBranch(g *group, masq masquerade, key []byte, pool []model.Endpoint, p *model.Port) branch {
	return branch{pick{group: g, masq: masq, count: len(pool), sticky: p.Affinity > 0}, key, pool, p.Affinity}
}

// entries returns the elements that the way needs.
func (b *branch) entries(out []nft.Entry) []nft.Entry {
	verdict := b.name()
	if len(b.pool) == 0 {
		// Endpoints elsewhere only: silence, so that the load balancer tries another node.
		verdict = nft.Drop
	}
	out = append(out, nft.Entry{Set: b.group.verdicts, Element: nft.Element{Key: b.key, Verdict: verdict}})
	if b.sticky { // also of an empty pool: it is the place that is looked up, whoever asks
		out = append(out, nft.Entry{Set: b.group.sticky, Element: nft.Element{Key: b.key, Verdict: rememberName(b.affinity)}})
	}
	for i, e := range b.pool {
		out = append(out, nft.Entry{Set: b.group.endpoints, Element: nft.Element{
			Key: binary.NativeEndian.AppendUint32(b.key[:len(b.key):len(b.key)], uint32(i)), Data: serverKey(e.AddrPort),
		}})
	}
	return out
}

func serverKey(a netip.AddrPort) []byte {
	return append(binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port()), 0, 0)
}

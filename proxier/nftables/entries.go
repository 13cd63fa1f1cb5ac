package nftables

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
)

// poolName identifies a list of endpoints.
type poolName struct {
	service, port string
	protocol      corev1.Protocol
	family        corev1.IPFamily
	local         bool
}

// poolIDs gives pools numbers that stay the same over restarts, as clients
// with affinity are remembered by them.
type poolIDs struct {
	byName map[poolName]uint32
	taken  map[uint32]bool
}

func (ids *poolIDs) of(n poolName) uint32 {
	if id, ok := ids.byName[n]; ok {
		return id
	}
	h := fnv.New32a()
	for _, s := range []string{n.service, n.port, string(n.protocol), string(n.family)} {
		_, _ = h.Write(append([]byte(s), 0))
	}
	if n.local {
		_, _ = h.Write([]byte{1})
	}
	id := h.Sum32()
	for ids.taken[id] {
		id++
	}
	ids.byName[n], ids.taken[id] = id, true
	return id
}

func (ids *poolIDs) forget(service string, ports []model.Port) {
	for i := range ports {
		for _, local := range []bool{false, true} {
			n := nameOf(service, &ports[i], local)
			if id, ok := ids.byName[n]; ok {
				delete(ids.byName, n)
				delete(ids.taken, id)
			}
		}
	}
}

func nameOf(service string, p *model.Port, local bool) poolName {
	return poolName{service: service, port: p.Name, protocol: p.Protocol, family: p.Family, local: local}
}

// entries returns the elements that one port of a service needs, and calls need
// for each chain that they go to.
func (t *table) entries(service string, p *model.Port, ids *poolIDs, need func(pick)) []nft.Entry {
	out := t.fw.Entries(p)
	used := map[bool]bool{} // local → pool is used
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		if p.Refused(fe) {
			continue
		}
		b := branch{
			table: t, port: p, class: byAddr, set: t.services,
			key: firewall.PlaceKey(fe.Addr, p.Protocol, fe.Port), local: fe.Local, masq: elsewhere,
		}
		inside := b
		inside.class, inside.set = insideByAddr, t.insideServices
		if fe.Kind == model.NodePort {
			b.class, b.set, b.key = byNodePort, t.nodePorts, firewall.PortKey(p.Protocol, fe.Port)
			inside.class, inside.set, inside.key = insideByPort, t.insideNodePorts, b.key
		}
		if fe.Kind != model.ClusterIP {
			b.masq = always
			if fe.Local {
				// Outside clients keep their address; the node and its pods are
				// served as if they had used the cluster IP.
				b.masq, inside.local = never, false
				out = inside.entries(out, service, ids, used, need)
			}
		}
		out = b.entries(out, service, ids, used, need)
	}
	for local := range used {
		out = t.poolEntries(out, ids.of(nameOf(service, p, local)), poolOf(p, local), p.Affinity > 0)
	}
	return out
}

// branch is the way from one key to one pool.
type branch struct {
	table *table
	port  *model.Port
	class class
	set   *nft.Set
	key   []byte
	local bool
	masq  masquerade
}

func (b branch) entries(out []nft.Entry, service string, ids *poolIDs, used map[bool]bool, need func(pick)) []nft.Entry {
	pool := poolOf(b.port, b.local)
	if len(pool) == 0 {
		// Endpoints elsewhere only: silence, so that the load balancer tries another node.
		return append(out, nft.Entry{Set: b.set, Element: nft.Element{Key: b.key, Verdict: nft.Drop}})
	}
	used[b.local] = true
	p := pick{class: b.class, masq: b.masq, count: len(pool), affinity: b.port.Affinity}
	need(p)
	poolKey := nft.Uint32(uint32(b.class))
	if b.class.nodePort() {
		poolKey = append(poolKey, make([]byte, b.table.AddrLen())...)
	}
	return append(out,
		nft.Entry{Set: b.set, Element: nft.Element{Key: b.key, Verdict: p.name()}},
		nft.Entry{Set: b.table.pools, Element: nft.Element{
			Key: append(poolKey, b.key...), Data: nft.Uint32(ids.of(nameOf(service, b.port, b.local))),
		}})
}

func (t *table) poolEntries(out []nft.Entry, id uint32, pool []model.Endpoint, affinity bool) []nft.Entry {
	for i, e := range pool {
		server := serverKey(e.AddrPort)
		out = append(out, nft.Entry{Set: t.endpoints, Element: nft.Element{
			Key: binary.NativeEndian.AppendUint32(nft.Uint32(id), uint32(i)), Data: server,
		}})
		if affinity {
			out = append(out, nft.Entry{Set: t.members, Element: nft.Element{Key: append(nft.Uint32(id), server...)}})
		}
	}
	return out
}

func serverKey(a netip.AddrPort) []byte {
	return append(binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port()), 0, 0)
}

func poolOf(p *model.Port, local bool) []model.Endpoint {
	if local {
		return p.Local
	}
	return p.Cluster
}

package nftables

import (
	"maps"

	"github.com/skiffcluster/skiff/proxier/nft"
)

// sticky knows which servers a place with session affinity has. The kernel
// keeps each client's server by itself, but does not see that one is gone:
// its clients are removed here.
type sticky struct {
	servers map[*group]map[string]map[string]bool // place → servers
	lost    map[*table]bool                       // a place of it may have lost one
}

func newSticky() sticky {
	return sticky{servers: map[*group]map[string]map[string]bool{}, lost: map[*table]bool{}}
}

func (s *sticky) remove(t *table, w *branch) {
	if w.sticky {
		delete(s.servers[w.group], string(w.key))
		s.lost[t] = true
	}
}

func (s *sticky) add(t *table, w *branch) {
	if !w.sticky {
		return
	}
	if s.servers[w.group] == nil {
		s.servers[w.group] = map[string]map[string]bool{}
		s.lost[t] = true // an earlier process may have left some
	}
	servers := map[string]bool{}
	for _, e := range w.pool {
		servers[string(serverKey(e.AddrPort))] = true
	}
	s.servers[w.group][string(w.key)] = servers
}

// clean removes the clients of servers that are gone. What fails is tried
// again by the next clean.
func (s *sticky) clean(store *nft.Store) error {
	for t := range maps.Clone(s.lost) {
		addr := int(t.AddrLen())
		err := store.Purge(t.clients, func(e nft.Element) bool {
			place := e.Key[:len(e.Key)-addr]
			return !s.has(place, e.Data, t.services, t.insideServices) && !s.has(place[addr:], e.Data, t.nodePorts, t.insideNodePorts)
		})
		if err != nil {
			return err
		}
		delete(s.lost, t)
	}
	return nil
}

// has tells whether the server is one of the place. A client of a place with
// two pools, for inside and for outside, may be of either.
func (s *sticky) has(place, server []byte, groups ...*group) bool {
	for _, g := range groups {
		if s.servers[g][string(place)][string(server)] {
			return true
		}
	}
	return false
}

package proxier

import (
	"net/netip"

	"github.com/skiffcluster/skiff/proxier/model"
)

// announces tells whether this node takes part in announcing addresses.
func (p *Proxier) announces() bool { return len(p.pool) > 0 && p.cfg.Mode != ModeNone }

// announced returns the addresses of the pool that this node can serve: with
// policy Local, those that have an endpoint here.
func (p *Proxier) announced() map[netip.Addr]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[netip.Addr]bool{}
	if p.excluded || !p.health.eligible {
		return out
	}
	p.tracker.Services(func(s *model.Service) {
		for i := range s.Ports {
			port := &s.Ports[i]
			for j := range port.Frontends {
				if f := &port.Frontends[j]; f.Kind == model.External && p.pool.Contains(f.Addr) && len(port.Outside(f)) > 0 {
					out[f.Addr] = true
				}
			}
		}
	})
	return out
}

package trace

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/model"
)

// Rules is a backend on paper. It is safe for concurrent use.
type Rules struct {
	mu       sync.Mutex
	services map[string]*model.Service
}

var _ backend.Backend = (*Rules)(nil)

// New returns empty Rules.
func New() *Rules { return &Rules{services: map[string]*model.Service{}} }

// Apply implements backend.Backend.
func (r *Rules) Apply(_ context.Context, changes []model.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if c.Service == nil {
			delete(r.services, c.Key)
		} else {
			r.services[c.Key] = c.Service
		}
	}
	return nil
}

// Check implements backend.Backend: nobody can change what is on paper.
func (r *Rules) Check(context.Context) (int, error) { return 0, nil }

// Close implements backend.Backend.
func (r *Rules) Close() error { return nil }

// Packet is the first packet of a connection.
type Packet struct {
	From     netip.Addr
	To       netip.AddrPort
	Protocol corev1.Protocol
	// Inside is true when the sender is this node or one of its pods.
	Inside bool
	// ToNode is true when To is an address of the node.
	ToNode bool
}

// Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	// Pass: no service is meant, the packet goes its way.
	Pass Verdict = "pass"
	// Forward: to one of Outcome.To.
	Forward Verdict = "forward"
	// Refuse: the sender is told that nobody is there.
	Refuse Verdict = "refuse"
	// Drop: silence.
	Drop Verdict = "drop"
)

// Outcome is what becomes of a packet, and where it may go.
type Outcome struct {
	Verdict Verdict
	To      []netip.AddrPort
	Service string
}

// Send tells what becomes of a packet.
func (r *Rules) Send(p Packet) Outcome {
	if p.Protocol == "" {
		p.Protocol = corev1.ProtocolTCP
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.services {
		for i := range s.Ports {
			port := &s.Ports[i]
			for j := range port.Frontends {
				if f := &port.Frontends[j]; meant(port, f, p) {
					return decide(s.Key, port, f, p)
				}
			}
		}
	}
	return Outcome{Verdict: Pass}
}

func meant(port *model.Port, f *model.Frontend, p Packet) bool {
	if port.Protocol != p.Protocol || f.Port != p.To.Port() {
		return false
	}
	if f.Kind == model.NodePort {
		return p.ToNode && p.To.Addr().Is4() == (port.Family == corev1.IPv4Protocol)
	}
	return f.Addr == p.To.Addr()
}

func decide(key string, port *model.Port, f *model.Frontend, p Packet) Outcome {
	out := Outcome{Service: key}
	allowed := len(f.SourceRanges) == 0 ||
		slices.ContainsFunc(f.SourceRanges, func(n netip.Prefix) bool { return n.Contains(p.From) })
	pool := port.Outside(f)
	if p.Inside && f.Kind != model.ClusterIP {
		pool = port.Cluster
	}
	switch {
	case !allowed:
		out.Verdict = Drop
	case port.Refused(f):
		out.Verdict = Refuse
	case len(pool) == 0:
		out.Verdict = Drop
	default:
		out.Verdict = Forward
		for _, e := range pool {
			out.To = append(out.To, e.AddrPort)
		}
	}
	return out
}

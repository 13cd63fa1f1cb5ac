package model

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Service is everything that the node does for one Service object, in both
// address families.
type Service struct {
	// Key is namespace/name.
	Key string
	// Ports holds one value for each service port and address family.
	Ports []Port
	// HealthCheck is the node port that load balancers ask whether this node
	// has endpoints of the service; 0 when there is none.
	HealthCheck uint16
	// LocalReady counts the node's own endpoints that are ready, for HealthCheck.
	LocalReady int
}

// Port is one service port in one address family.
type Port struct {
	// Name is the port's name in the Service; empty is allowed for a single port.
	Name     string
	Protocol corev1.Protocol
	Family   corev1.IPFamily
	// Cluster are the endpoints for traffic with policy Cluster, Local those
	// for traffic with policy Local. Both are sorted and without duplicates.
	Cluster, Local []Endpoint
	// Draining are endpoints that end but still serve what they have begun,
	// whether or not they are in Cluster or Local.
	Draining []Endpoint
	// Affinity is how long a client stays with its endpoint; 0 is no affinity.
	Affinity time.Duration
	// Frontends are the places where clients reach the port.
	Frontends []Frontend
}

// Endpoint is one server behind a service port.
type Endpoint struct {
	netip.AddrPort
	// OnNode is true for endpoints of this node. They may be their own clients
	// (hairpin), which needs masquerade.
	OnNode bool
}

// Kind says what sort of place a Frontend is.
type Kind string

// The kinds of frontends.
const (
	// ClusterIP is reached at the service's own address.
	ClusterIP Kind = "ClusterIP"
	// External is reached at an external or load-balancer address.
	External Kind = "External"
	// NodePort is reached at every local address; its Addr is not valid.
	NodePort Kind = "NodePort"
)

// Frontend is one place where clients reach a service port.
type Frontend struct {
	Kind Kind
	// Addr is invalid for NodePort.
	Addr netip.Addr
	// OwnAddr is true when Addr is one of the node's own addresses: only Port of
	// it is the service's.
	OwnAddr bool
	Port    uint16
	// Local is true when the traffic policy for this place is Local: only the
	// node's own endpoints serve it and the client's address is kept. Traffic
	// from this node and its pods to an External or NodePort place is served by
	// the whole cluster nevertheless.
	Local bool
	// SourceRanges, where not empty, are the only clients let in.
	SourceRanges []netip.Prefix
}

// Slot identifies a place independently of who owns it: two services that
// claim the same slot are in conflict.
type Slot struct {
	// Addr is the zero value for node ports; Family tells them apart then.
	Addr     netip.Addr
	Family   corev1.IPFamily
	Protocol corev1.Protocol
	Port     uint16
}

// Slot returns the identity of frontend f of p.
func (p *Port) Slot(f *Frontend) Slot {
	return Slot{Addr: f.Addr, Family: p.Family, Protocol: p.Protocol, Port: f.Port}
}

// Outside returns the endpoints for clients from outside of the node and its pods.
func (p *Port) Outside(f *Frontend) []Endpoint {
	if f.Local {
		return p.Local
	}
	return p.Cluster
}

// Refused is true when clients of f must be refused because there is no
// endpoint at all. With endpoints elsewhere only, policy Local drops instead:
// the client's load balancer is expected to try another node.
func (p *Port) Refused(f *Frontend) bool {
	return len(p.Cluster) == 0 && len(p.Outside(f)) == 0
}

// Change is one step from what a backend was told before.
type Change struct {
	Key string
	// Service is nil when the service is gone.
	Service *Service
}

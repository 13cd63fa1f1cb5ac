package network

import (
	"context"
	"net/netip"
)

// None gives addresses from the pod CIDRs and connects nothing: for pods in
// memory. Nothing is kept on disk.
type None struct{ addresses *addresses }

var _ Network = (*None)(nil)

// NewNone makes one.
func NewNone() *None { return &None{addresses: newAddresses("")} }

// SetCIDRs implements Network.
func (n *None) SetCIDRs(_ context.Context, cidrs []netip.Prefix) error {
	return n.addresses.setCIDRs(cidrs)
}

// Ready implements Network.
func (n *None) Ready() error { return n.addresses.ready() }

// Reserve implements Network.
func (n *None) Reserve(_ context.Context, podID string) ([]netip.Addr, error) {
	return n.addresses.reserve(podID)
}

// Attach implements Network.
func (n *None) Attach(_ context.Context, p Pod) ([]netip.Addr, error) {
	return n.addresses.reserve(p.ID)
}

// Detach implements Network.
func (n *None) Detach(_ context.Context, podID string) error { return n.addresses.release(podID) }

// Pods implements Network.
func (n *None) Pods() []string { return n.addresses.list() }

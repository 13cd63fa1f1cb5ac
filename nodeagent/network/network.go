package network

import (
	"context"
	"errors"
	"net/netip"
)

// ErrNotReady is returned, wrapped, while the node has no pod CIDR yet.
var ErrNotReady = errors.New("no pod CIDR")

// ErrMoved is returned, wrapped, by Attach for a pod that was connected with
// addresses that are the node's no more, as after it was deleted and has joined
// again. They are freed: the pod needs a new network namespace.
var ErrMoved = errors.New("the node has other pod CIDRs than when the pod was connected")

// Network connects the pods of one node. Methods may be called concurrently;
// calls for one pod must not be.
type Network interface {
	// SetCIDRs tells the node's pod CIDRs, at most one of each family. They are
	// set again at every start and don't change afterwards.
	SetCIDRs(ctx context.Context, cidrs []netip.Prefix) error
	// Ready says whether pods can be connected; the error is for the node's
	// Ready condition.
	Ready() error

	// Reserve gives a pod its addresses before it is connected, so that its
	// containers can be prepared meanwhile. The same pod gets the same again.
	// A network that learns addresses only by connecting gives none.
	Reserve(ctx context.Context, podID string) ([]netip.Addr, error)
	// Attach connects a pod's network namespace and gives its addresses. It may
	// be called again, for example after an error.
	Attach(ctx context.Context, p Pod) ([]netip.Addr, error)
	// Detach disconnects a pod and frees its addresses. A pod that is not
	// connected is no error.
	Detach(ctx context.Context, podID string) error
	// Pods lists the pods that hold addresses, for those that are gone to be
	// detached.
	Pods() []string
}

// Pod is what Attach needs of one.
type Pod struct {
	ID        string
	Namespace string
	Name      string
	NetNS     string // path of its network namespace
	// Annotations of the pod, for plugins.
	Annotations map[string]string
	HostPorts   []HostPort
}

// HostPort is a port of the node that leads to a port of a pod.
type HostPort struct {
	Protocol      string     // "TCP", "UDP" or "SCTP"
	HostIP        netip.Addr // invalid for all addresses of the node
	HostPort      uint16
	ContainerPort uint16
}

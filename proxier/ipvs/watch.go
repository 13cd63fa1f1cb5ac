package ipvs

import (
	"context"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"k8s.io/klog/v2"
)

// WatchAddresses calls notify when the node's addresses change, since a node
// port has a virtual server on each, until ctx ends. Without the
// kernel's messages the periodic check sees the change later.
func (b *Backend) WatchAddresses(ctx context.Context, notify func()) {
	log := klog.FromContext(ctx)
	ns := netns.None()
	if b.cfg.NetNS != "" {
		var err error
		if ns, err = netns.GetFromPath(b.cfg.NetNS); err != nil {
			log.Error(err, "Cannot watch the node's addresses")
			return
		}
		defer func() { _ = ns.Close() }()
	}
	updates := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeAt(ns, updates, ctx.Done()); err != nil {
		log.Error(err, "Cannot watch the node's addresses")
		return
	}
	for u := range updates {
		// Our own service addresses come and go without a change of node ports.
		if ones, bits := u.LinkAddress.Mask.Size(); ones != bits {
			notify()
		}
	}
}

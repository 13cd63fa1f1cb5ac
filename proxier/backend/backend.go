package backend

import (
	"context"
	"net/netip"

	"github.com/skiffcluster/skiff/proxier/model"
)

// Backend makes one network namespace treat packets as the model says. It is
// not safe for concurrent use.
type Backend interface {
	// Apply takes over changes. The first call must hold every service: what an
	// earlier process left in the kernel is compared with it, and only
	// differences are written, so that a restart disturbs no connection. After
	// an error the next Apply or Check tries again.
	Apply(ctx context.Context, changes []model.Change) error
	// Check repairs what others changed in the kernel and does what became due,
	// such as removing drained servers. It returns how many things it repaired.
	Check(ctx context.Context) (repaired int, err error)
	// Close frees what the process holds. The kernel goes on as it is.
	Close() error
}

// Config is what every backend needs to know.
type Config struct {
	// NetNS is the path of the network namespace, empty for the process's own.
	NetNS string
	// ClusterCIDRs are the pods' networks. Clients of cluster IPs from elsewhere
	// are masqueraded; without any, none is.
	ClusterCIDRs []netip.Prefix
	// NodePortAddresses limits the local addresses that serve node ports; empty
	// means all but loopback.
	NodePortAddresses []netip.Prefix
}

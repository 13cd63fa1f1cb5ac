package announce

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/addrpool"
)

// A dead node is replaced after at most leaseDuration and two retries: 9 s, at
// the price of one small write for each address every two seconds.
const (
	leaseDuration = 5 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = 2 * time.Second
)

// Announcer holds addresses for a node. Its fields are set before Run.
type Announcer struct {
	Client   kubernetes.Interface
	NodeName string
	// NetNS is the path of the network namespace; empty means the process's own.
	NetNS string
	// Pool are the addresses that it may hold, and nobody else on this node.
	Pool addrpool.Pool

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of Run: elections begin and end with Want
	running sync.WaitGroup
	stop    map[netip.Addr]context.CancelFunc // elections under way

	links sync.Mutex // what is on links changes in one place at a time
}

// Run holds addresses until ctx ends; then it gives all of them away.
func (a *Announcer) Run(ctx context.Context) {
	if err := a.Release(); err != nil { // what an earlier process left
		klog.FromContext(ctx).Error(err, "Load-balancer addresses of an earlier process stay")
	}
	a.mu.Lock()
	a.ctx, a.stop = ctx, map[netip.Addr]context.CancelFunc{}
	a.mu.Unlock()
	<-ctx.Done()
	a.mu.Lock()
	a.ctx = nil // no election begins any more
	a.mu.Unlock()
	a.running.Wait()
}

// Want says which addresses this node may hold now. It tells nothing before
// Run has begun, and is told all again by the caller's next change or check.
func (a *Announcer) Want(addrs map[netip.Addr]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil {
		return
	}
	for addr, stop := range a.stop {
		if !addrs[addr] {
			stop()
			delete(a.stop, addr)
		}
	}
	for addr := range addrs {
		if a.stop[addr] != nil || !a.Pool.Contains(addr) {
			continue
		}
		ctx, stop := context.WithCancel(a.ctx)
		a.stop[addr] = stop
		a.running.Go(func() { a.elect(ctx, addr) })
	}
}

// elect takes part in the election for an address until ctx ends.
func (a *Announcer) elect(ctx context.Context, addr netip.Addr) {
	log := klog.FromContext(ctx).WithValues("address", addr.String())
	if err := a.prepare(addr); err != nil {
		log.Error(err, "Load-balancer address is not announced by this node")
		return
	}
	name := "skiff-lb-" + strings.NewReplacer(".", "-", ":", "-").Replace(addr.StringExpanded())
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name},
		Client:     a.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: a.NodeName},
	}
	var elector *leaderelection.LeaderElector
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: name, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { a.hold(ctx, addr) },
			// Nothing: while the API server is away nobody else can take over,
			// and the services behind the address go on.
			OnStoppedLeading: func() {},
			OnNewLeader: func(who string) {
				if who != a.NodeName && !elector.IsLeader() {
					a.giveUp(ctx, addr)
				}
			},
		},
	})
	if err != nil {
		log.Error(err, "Load-balancer address is not announced by this node")
		return
	}
	for ctx.Err() == nil {
		elector.Run(klog.NewContext(ctx, log))
	}
	a.giveUp(ctx, addr)
}

// tellings is how often the neighbours are told: a message may be lost.
const tellings = 3

// hold puts the address on the link and tells the neighbours.
func (a *Announcer) hold(ctx context.Context, addr netip.Addr) {
	log := klog.FromContext(ctx)
	a.links.Lock()
	defer a.links.Unlock()
	if ctx.Err() != nil {
		return
	}
	link, err := a.bind(addr)
	if err != nil {
		log.Error(err, "Load-balancer address is not announced")
		return
	}
	log.Info("Announcing load-balancer address", "link", link.Name)
	for range tellings {
		if err := a.tell(link, addr); err != nil {
			log.Error(err, "Neighbours were not told of the load-balancer address")
		}
	}
}

// giveUp takes the address from the link, if it is there.
func (a *Announcer) giveUp(ctx context.Context, addr netip.Addr) {
	a.links.Lock()
	defer a.links.Unlock()
	if err := a.release(addr); err != nil {
		klog.FromContext(ctx).Error(err, "Load-balancer address stays on the link", "address", addr.String())
	}
}

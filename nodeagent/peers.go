package nodeagent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/network"
)

// followPeers tells the network of all other nodes until ctx ends.
func (a *Agent) followPeers(ctx context.Context) error {
	router, ok := a.network.(network.Router)
	if !ok {
		return nil
	}
	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	nodes := a.client.CoreV1().Nodes()
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return nodes.Watch(ctx, o)
			},
		},
		ObjectType: &corev1.Node{},
		Transform:  onlyPeer,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(_, _ any) { changed() }, DeleteFunc: func(any) { changed() },
		},
	})
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { informer.RunWithContext(ctx) })
	var before []network.Peer
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
		if !informer.HasSynced() {
			// The last of the first list wakes before it counts as synced.
			time.AfterFunc(time.Millisecond, changed)
			continue
		}
		peers := planPeers(store.List(), a.cfg.NodeName)
		if before != nil && slices.EqualFunc(peers, before, samePeer) {
			continue
		}
		if err := router.SetPeers(peers); err != nil {
			klog.FromContext(ctx).Error(err, "Setting routes to other nodes", "Node", a.cfg.NodeName)
		}
		before = peers
	}
}

// onlyPeer keeps of a Node what routes are made of.
func onlyPeer(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Spec:       corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: n.Status.Addresses},
	}, nil
}

// planPeers gives all nodes but the own one that have pods and an address.
func planPeers(nodes []any, own string) []network.Peer {
	peers := []network.Peer{}
	for _, obj := range nodes {
		n, ok := obj.(*corev1.Node)
		if !ok || n.Name == own {
			continue
		}
		p := network.Peer{Name: n.Name, CIDRs: podCIDRs(n)}
		for _, addr := range n.Status.Addresses {
			if addr.Type != corev1.NodeInternalIP {
				continue
			}
			if ip, err := netip.ParseAddr(addr.Address); err == nil && !ip.IsLoopback() {
				p.Addresses = append(p.Addresses, ip)
			}
		}
		if len(p.CIDRs) > 0 && len(p.Addresses) > 0 {
			peers = append(peers, p)
		}
	}
	slices.SortFunc(peers, func(x, y network.Peer) int { return strings.Compare(x.Name, y.Name) })
	return peers
}

func samePeer(x, y network.Peer) bool {
	return x.Name == y.Name && slices.Equal(x.CIDRs, y.CIDRs) && slices.Equal(x.Addresses, y.Addresses)
}

package kubernetes

import (
	"context"
	"net/netip"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/autopath"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/coredns/coredns/request"
	corev1 "k8s.io/api/core/v1"
)

var (
	_ autopath.AutoPather = (*Plugin)(nil)
	_ metadata.Provider   = (*Plugin)(nil)
)

// client returns the pod that asks, or nil when it is unknown: pods are known
// with pods verified only.
func (p *Plugin) client(state request.Request) *corev1.Pod {
	a, err := netip.ParseAddr(state.IP())
	if err != nil || !p.pods || !p.source.PodsSynced() {
		return nil
	}
	return p.source.Zone.Pod(a)
}

// AutoPath implements autopath.AutoPather: it returns the search path of the
// pod that asks, nil when it is unknown.
func (p *Plugin) AutoPath(state request.Request) []string {
	zone := plugin.Zones(p.zones).Matches(state.Name())
	if zone == "" || !p.source.Synced() {
		return nil
	}
	pod := p.client(state)
	if pod == nil {
		return nil
	}
	svc := dnsutil.Join("svc", zone)
	path := []string{dnsutil.Join(pod.Namespace, svc), svc, zone}
	path = append(path, p.source.Search()...)
	return append(path, "") // the name as it is: autopath wants it last
}

// Metadata implements metadata.Provider with CoreDNS's labels.
func (p *Plugin) Metadata(ctx context.Context, state request.Request) context.Context {
	set := func(label, value string) {
		metadata.SetValueFunc(ctx, "kubernetes/"+label, func() string { return value })
	}
	if pod := p.client(state); pod != nil {
		set("client-namespace", pod.Namespace)
		set("client-pod-name", pod.Name)
		for k, v := range pod.Labels {
			set("client-label/"+k, v)
		}
	}
	if zone := plugin.Zones(p.zones).Matches(state.Name()); zone != "" && !isReverse(zone) {
		for label, value := range p.views[zone].Parts(state.Name()) {
			set(label, value)
		}
	}
	return ctx
}

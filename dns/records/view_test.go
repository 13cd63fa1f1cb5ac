package records_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/dns/records"
)

func pod(name string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels.Set{"app": name}}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func selector(t *testing.T, s string) labels.Selector {
	t.Helper()
	out, err := labels.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAViewShowsWhatItsOptionsSay(t *testing.T) {
	z := zone()
	z.SetPod(pod("client", "10.244.0.1", "fd01::1"))
	labelled := service("labelled", "10.96.0.3")
	labelled.Labels = labels.Set{"app": "blue"}
	z.SetService(labelled)
	named := slice("web", "2", ep{ip: "10.244.3.1"})
	named.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-abc"}
	z.SetSlice(named)
	const none = "NXDOMAIN"
	for _, c := range []struct {
		name, qname string
		view        records.View
		want        string
	}{
		{"pods are not answered unless asked for", "10-244-0-1.default.pod.cluster.local.", records.View{}, none},
		{"a verified pod", "10-244-0-1.default.pod.cluster.local.", records.View{Pods: records.PodsVerified}, "10.244.0.1"},
		{"an address that no pod has, verified", "10-244-0-2.default.pod.cluster.local.", records.View{Pods: records.PodsVerified}, none},
		{"a pod of another namespace, verified", "10-244-0-1.kube-system.pod.cluster.local.", records.View{Pods: records.PodsVerified}, none},
		{"a pod that is not selected, verified", "10-244-0-1.default.pod.cluster.local.", records.View{Pods: records.PodsVerified, Labels: selector(t, "app=other")}, none},
		{"a service that is selected", "labelled.default.svc.cluster.local.", records.View{Labels: selector(t, "app in (blue)")}, "10.96.0.3"},
		{"a service that is not selected", "web.default.svc.cluster.local.", records.View{Labels: selector(t, "app in (blue)")}, none},
		{"a namespace that is shown", "web.default.svc.cluster.local.", records.View{Namespaces: []string{"other", "default"}}, "10.96.0.1"},
		{"a namespace that is not shown", "web.default.svc.cluster.local.", records.View{Namespaces: []string{"other"}}, none},
		{"a namespace by its labels", "web.default.svc.cluster.local.", records.View{NamespaceLabels: selector(t, "team=blue")}, "10.96.0.1"},
		{"a namespace with other labels", "web.default.svc.cluster.local.", records.View{NamespaceLabels: selector(t, "team!=blue")}, none},
		{"endpoints are named by their addresses", "10-244-3-1.web.default.svc.cluster.local.", records.View{}, "10.244.3.1"},
		{"endpoints are named by their pods", "web-abc.web.default.svc.cluster.local.", records.View{EndpointPodNames: true}, "10.244.3.1"},
		{"an endpoint without pod keeps its address as name", "10-244-0-9.web.default.svc.cluster.local.", records.View{EndpointPodNames: true}, "10.244.0.9"},
		{"a headless service without endpoints", "db.default.svc.cluster.local.", records.View{NoEndpoints: true}, none},
		{"a service with an address without endpoints", "web.default.svc.cluster.local.", records.View{NoEndpoints: true}, "10.96.0.1"},
		{"an empty service", "dual.default.svc.cluster.local.", records.View{}, "10.96.0.2"},
		{"an empty service that is ignored", "dual.default.svc.cluster.local.", records.View{IgnoreEmpty: true}, none},
		{"a service that is not empty", "web.default.svc.cluster.local.", records.View{IgnoreEmpty: true}, "10.96.0.1"},
		{"no domain", "web.default.svc.", records.View{Domain: "."}, "10.96.0.1"},
		{"another domain", "web.default.svc.other.test.", records.View{Domain: "other.test."}, "10.96.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.view.Domain == "" {
				c.view.Domain = "cluster.local."
			}
			c.view.TTL = 7
			r := z.Answer(&c.view, c.view.Domain, question(c.qname, dns.TypeA))
			got := dns.RcodeToString[r.Rcode]
			for _, rr := range slices.Concat(r.Answer, r.Authority) {
				if rr.Header().Ttl != 7 {
					t.Errorf("TTL %d, want 7", rr.Header().Ttl)
				}
				if a, ok := rr.(*dns.A); ok {
					got = a.A.String()
				}
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestNamesWithoutDomainCanBeSent(t *testing.T) {
	r := zone().Answer(&records.View{Domain: "."}, "in-addr.arpa.", question("1.0.96.10.in-addr.arpa.", dns.TypePTR))
	if want := []string{"1.0.96.10.in-addr.arpa. PTR web.default.svc."}; !slices.Equal(lines(r.Answer), want) {
		t.Errorf("%q, want %q", lines(r.Answer), want)
	}
}

func TestHiddenServicesHaveNoReverseNames(t *testing.T) {
	v := &records.View{Domain: "cluster.local.", Namespaces: []string{"other"}}
	for _, qname := range []string{"1.0.96.10.in-addr.arpa.", "1.0.244.10.in-addr.arpa."} {
		r := zone().Answer(v, "in-addr.arpa.", question(qname, dns.TypePTR))
		if r.Rcode != dns.RcodeNameError || r.Authority[0].Header().Name != "in-addr.arpa." {
			t.Errorf("%s: %v, want NXDOMAIN of in-addr.arpa.", qname, r)
		}
	}
}

func TestPodsAreFoundByAddress(t *testing.T) {
	z := records.NewZone()
	v6 := netip.MustParseAddr("fd01::1")
	z.SetPod(pod("a", "10.244.0.1", "fd01::1"))
	if p := z.Pod(v6); p == nil || p.Name != "a" {
		t.Errorf("%v, want pod a", p)
	}
	ending := pod("a", "10.244.0.1", "fd01::1")
	ending.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	z.SetPod(ending)
	if p := z.Pod(v6); p != nil {
		t.Errorf("%v is being deleted, want none", p)
	}
	z.SetPod(pod("b", "fd01::1"))
	z.DeletePod(pod("b", "fd01::1"))
	if p := z.Pod(v6); p != nil {
		t.Errorf("%v is deleted, want none", p)
	}
}

func TestNamesHaveParts(t *testing.T) {
	v := &records.View{Domain: "cluster.local."}
	for _, c := range []struct{ name, qname, want string }{
		{"a service", "Web.default.svc.cluster.local.", "svc default web    "},
		{"an endpoint", "db-0.db.default.svc.cluster.local.", "svc default db db-0   "},
		{"a port", "_http._tcp.web.default.svc.cluster.local.", "svc default web  http tcp"},
		{"a pod", "10-244-0-1.default.pod.cluster.local.", "pod default 10-244-0-1   "},
		{"a namespace", "default.svc.cluster.local.", "svc default    "},
		{"the domain itself", "cluster.local.", ""},
		{"a name that means nothing", "x.y.cluster.local.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := v.Parts(c.qname)
			got := strings.Join([]string{p["kind"], p["namespace"], p["service"], p["endpoint"], p["port-name"], p["protocol"]}, " ")
			if strings.TrimSpace(got) != strings.TrimSpace(c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

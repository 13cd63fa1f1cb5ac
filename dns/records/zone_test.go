package records_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/dns/records"
)

func service(name string, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = ips[0], ips
	s.Spec.Ports = []corev1.ServicePort{
		{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
		{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
		{Port: 81, Protocol: corev1.ProtocolTCP},
	}
	return s
}

func alias(name, target string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, target
	return s
}

type ep struct {
	ip, hostname string
	unready      bool
}

func slice(owner, name string, eps ...ep) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{}
	s.Namespace, s.Name = "default", owner+"-"+name
	s.Labels = map[string]string{discoveryv1.LabelServiceName: owner}
	s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}
	for _, e := range eps {
		d := discoveryv1.Endpoint{Addresses: []string{e.ip}}
		if e.hostname != "" {
			d.Hostname = &e.hostname
		}
		if e.unready {
			d.Conditions.Ready = new(false)
		}
		s.Endpoints = append(s.Endpoints, d)
	}
	return s
}

func zone() *records.Zone {
	z := records.NewZone(netip.MustParseAddr("10.96.0.10"))
	z.SetNamespace("default", labels.Set{"team": "blue"})
	z.SetService(service("web", "10.96.0.1"))
	z.SetService(service("dual", "10.96.0.2", "fd00::2"))
	z.SetService(service("db", "None"))
	z.SetService(service("empty", "None"))
	z.SetService(service("unready", "None"))
	z.SetService(alias("ext", "www.example.com"))
	z.SetService(alias("near", "web.default.svc.cluster.local"))
	z.SetSlice(slice("web", "1", ep{ip: "10.244.0.9"}))
	z.SetSlice(slice("db", "1", ep{ip: "10.244.0.1", hostname: "db-0"}, ep{ip: "10.244.0.2", hostname: "db-1"}, ep{ip: "10.244.0.3", unready: true}))
	z.SetSlice(slice("db", "2", ep{ip: "10.244.1.1"}, ep{ip: "10.244.0.2", hostname: "db-1"}))
	z.SetSlice(slice("db", "3", ep{ip: "fd01::1", hostname: "db-0"}))
	z.SetSlice(slice("unready", "1", ep{ip: "10.244.0.3", unready: true}))
	return z
}

// insecure is what kubeadm's Corefile shows.
var insecure = &records.View{Domain: "cluster.local.", TTL: 30, Pods: records.PodsInsecure}

func question(name string, qtype uint16) dns.Question {
	return dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}
}

// line writes a record without its TTL.
func line(rr dns.RR) string {
	f := strings.Fields(rr.String())
	return strings.Join(append(f[:1], f[3:]...), " ")
}

func lines(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, line(rr))
	}
	return out
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, qname string
		qtype       uint16
		rcode       int
		want        []string
		extra       []string
		follow      string
	}{
		{name: "a service's address", qname: "web.default.svc.cluster.local.", qtype: dns.TypeA, want: []string{"web.default.svc.cluster.local. A 10.96.0.1"}},
		{name: "names are compared without regard to case and answered as asked", qname: "WEB.default.SVC.cluster.local.", qtype: dns.TypeA, want: []string{"WEB.default.SVC.cluster.local. A 10.96.0.1"}},
		{name: "a service without an IPv6 address exists nevertheless", qname: "web.default.svc.cluster.local.", qtype: dns.TypeAAAA},
		{name: "the IPv6 address of a service with both", qname: "dual.default.svc.cluster.local.", qtype: dns.TypeAAAA, want: []string{"dual.default.svc.cluster.local. AAAA fd00::2"}},
		{name: "a service that does not exist", qname: "nobody.default.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a service in a namespace that does not exist", qname: "web.nowhere.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a namespace is a name without records", qname: "default.svc.cluster.local.", qtype: dns.TypeA},
		{name: "a namespace that does not exist", qname: "nowhere.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "svc is a name without records", qname: "svc.cluster.local.", qtype: dns.TypeA},
		{name: "another name in the domain", qname: "web.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a name with too many labels", qname: "a.b.c.web.default.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{
			name: "a headless service has its ready endpoints' addresses, each once", qname: "db.default.svc.cluster.local.", qtype: dns.TypeA,
			want: []string{"db.default.svc.cluster.local. A 10.244.0.1", "db.default.svc.cluster.local. A 10.244.0.2", "db.default.svc.cluster.local. A 10.244.1.1"},
		},
		{name: "a headless service in IPv6", qname: "db.default.svc.cluster.local.", qtype: dns.TypeAAAA, want: []string{"db.default.svc.cluster.local. AAAA fd01::1"}},
		{name: "a headless service without endpoints", qname: "empty.default.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a headless service without ready endpoints", qname: "unready.default.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "an endpoint by its hostname", qname: "db-0.db.default.svc.cluster.local.", qtype: dns.TypeA, want: []string{"db-0.db.default.svc.cluster.local. A 10.244.0.1"}},
		{name: "an endpoint without hostname by its address", qname: "10-244-1-1.db.default.svc.cluster.local.", qtype: dns.TypeA, want: []string{"10-244-1-1.db.default.svc.cluster.local. A 10.244.1.1"}},
		{name: "an endpoint that is not ready", qname: "10-244-0-3.db.default.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{
			name: "a named port of a service", qname: "_http._tcp.web.default.svc.cluster.local.", qtype: dns.TypeSRV,
			want:  []string{"_http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local."},
			extra: []string{"web.default.svc.cluster.local. A 10.96.0.1"},
		},
		{
			name: "a named port of a service with both families", qname: "_dns._udp.dual.default.svc.cluster.local.", qtype: dns.TypeSRV,
			want:  []string{"_dns._udp.dual.default.svc.cluster.local. SRV 0 100 53 dual.default.svc.cluster.local."},
			extra: []string{"dual.default.svc.cluster.local. A 10.96.0.2", "dual.default.svc.cluster.local. AAAA fd00::2"},
		},
		{
			name: "all named ports of a service", qname: "web.default.svc.cluster.local.", qtype: dns.TypeSRV,
			want: []string{
				"web.default.svc.cluster.local. SRV 0 50 53 web.default.svc.cluster.local.",
				"web.default.svc.cluster.local. SRV 0 50 80 web.default.svc.cluster.local.",
			},
			extra: []string{"web.default.svc.cluster.local. A 10.96.0.1"},
		},
		{
			name: "a named port of a headless service", qname: "_http._tcp.db.default.svc.cluster.local.", qtype: dns.TypeSRV,
			want: []string{
				"_http._tcp.db.default.svc.cluster.local. SRV 0 33 8080 10-244-1-1.db.default.svc.cluster.local.",
				"_http._tcp.db.default.svc.cluster.local. SRV 0 33 8080 db-0.db.default.svc.cluster.local.",
				"_http._tcp.db.default.svc.cluster.local. SRV 0 33 8080 db-1.db.default.svc.cluster.local.",
			},
			extra: []string{
				"10-244-1-1.db.default.svc.cluster.local. A 10.244.1.1", "db-0.db.default.svc.cluster.local. A 10.244.0.1",
				"db-0.db.default.svc.cluster.local. AAAA fd01::1", "db-1.db.default.svc.cluster.local. A 10.244.0.2",
			},
		},
		{name: "a port of another protocol", qname: "_http._udp.web.default.svc.cluster.local.", qtype: dns.TypeSRV, rcode: dns.RcodeNameError},
		{name: "a port that does not exist", qname: "_ftp._tcp.web.default.svc.cluster.local.", qtype: dns.TypeSRV, rcode: dns.RcodeNameError},
		{name: "a protocol is a name without records", qname: "_tcp.web.default.svc.cluster.local.", qtype: dns.TypeSRV},
		{
			name: "an alias leads outside", qname: "ext.default.svc.cluster.local.", qtype: dns.TypeA,
			want: []string{"ext.default.svc.cluster.local. CNAME www.example.com."}, follow: "www.example.com.",
		},
		{name: "an alias asked for itself is not followed", qname: "ext.default.svc.cluster.local.", qtype: dns.TypeCNAME, want: []string{"ext.default.svc.cluster.local. CNAME www.example.com."}},
		{name: "an alias has no ports", qname: "_http._tcp.ext.default.svc.cluster.local.", qtype: dns.TypeSRV, rcode: dns.RcodeNameError},
		{name: "a pod by its address", qname: "10-244-0-1.default.pod.cluster.local.", qtype: dns.TypeA, want: []string{"10-244-0-1.default.pod.cluster.local. A 10.244.0.1"}},
		{name: "a pod by its IPv6 address", qname: "fd01--1.default.pod.cluster.local.", qtype: dns.TypeAAAA, want: []string{"fd01--1.default.pod.cluster.local. AAAA fd01::1"}},
		{name: "a pod in a namespace that does not exist", qname: "10-244-0-1.nowhere.pod.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a pod's name that is no address", qname: "web.default.pod.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "the schema's version", qname: "dns-version.cluster.local.", qtype: dns.TypeTXT, want: []string{`dns-version.cluster.local. TXT "1.1.0"`}},
		{
			name: "the domain's name server", qname: "cluster.local.", qtype: dns.TypeNS,
			want: []string{"cluster.local. NS ns.dns.cluster.local."}, extra: []string{"ns.dns.cluster.local. A 10.96.0.10"},
		},
		{name: "a service by its address", qname: "1.0.96.10.in-addr.arpa.", qtype: dns.TypePTR, want: []string{"1.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local."}},
		{
			name: "a service by its IPv6 address", qname: "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", qtype: dns.TypePTR,
			want: []string{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR dual.default.svc.cluster.local."},
		},
		{name: "an endpoint with hostname by its address", qname: "1.0.244.10.in-addr.arpa.", qtype: dns.TypePTR, want: []string{"1.0.244.10.in-addr.arpa. PTR db-0.db.default.svc.cluster.local."}},
		{name: "an endpoint without hostname by its address", qname: "1.1.244.10.in-addr.arpa.", qtype: dns.TypePTR, rcode: dns.RcodeNameError},
		{name: "an address of others", qname: "1.2.0.192.in-addr.arpa.", qtype: dns.TypePTR, rcode: dns.RcodeNameError},
		{name: "a name of others", qname: "www.example.com.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a name that only ends like ours", qname: "notcluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := zone().Answer(insecure, "cluster.local.", question(c.qname, c.qtype))
			if r.Rcode != c.rcode {
				t.Errorf("%s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[c.rcode])
			}
			if got := lines(r.Answer); !slices.Equal(got, c.want) {
				t.Errorf("answer %q, want %q", got, c.want)
			}
			if got := lines(r.Extra); !slices.Equal(got, c.extra) {
				t.Errorf("extra %q, want %q", got, c.extra)
			}
			if r.Follow != c.follow {
				t.Errorf("follow %q, want %q", r.Follow, c.follow)
			}
			if len(r.Answer) == 0 && (len(r.Authority) != 1 || r.Authority[0].Header().Rrtype != dns.TypeSOA) {
				t.Errorf("authority %q of an empty answer, want the SOA", lines(r.Authority))
			}
		})
	}
}

func TestNamesFollowTheirObjects(t *testing.T) {
	z := zone()
	expect := func(what, qname string, qtype uint16, want ...string) {
		t.Helper()
		if got := lines(z.Answer(insecure, "cluster.local.", question(qname, qtype)).Answer); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	z.SetService(service("web", "10.96.0.7"))
	expect("a changed address", "web.default.svc.cluster.local.", dns.TypeA, "web.default.svc.cluster.local. A 10.96.0.7")
	expect("its reverse", "7.0.96.10.in-addr.arpa.", dns.TypePTR, "7.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.")
	expect("the reverse of the old address", "1.0.96.10.in-addr.arpa.", dns.TypePTR)
	z.DeleteSlice(slice("db", "1"))
	expect("a hostname that is gone", "db-0.db.default.svc.cluster.local.", dns.TypeA)
	expect("a hostname that another slice has", "db-1.db.default.svc.cluster.local.", dns.TypeA, "db-1.db.default.svc.cluster.local. A 10.244.0.2")
	expect("the reverse of what is gone", "1.0.244.10.in-addr.arpa.", dns.TypePTR)
	z.DeleteService("default", "web")
	expect("a deleted service", "web.default.svc.cluster.local.", dns.TypeA)
	expect("the reverse of a deleted service", "7.0.96.10.in-addr.arpa.", dns.TypePTR)
	z.DeleteNamespace("default")
	expect("a pod of a deleted namespace", "10-244-0-1.default.pod.cluster.local.", dns.TypeA)
}

package dns_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/dns"
)

// serve answers by UDP and TCP with h, at addr or at a port that is free.
func serve(t *testing.T, addr string, h miekg.Handler) (string, func()) {
	t.Helper()
	want := addr
	if want == "" {
		want = "127.0.0.1:0"
	}
	var l net.Listener
	var pc net.PacketConn
	for try := 0; ; try++ {
		var err error
		if l, err = net.Listen("tcp", want); err == nil {
			if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
				break
			}
			_ = l.Close()
		}
		if addr != "" || try == 20 {
			t.Fatal(err)
		}
	}
	var stops []func()
	for _, s := range []*miekg.Server{{Listener: l, Handler: h}, {PacketConn: pc, Handler: h}} {
		up, down := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() {
			defer close(down)
			_ = s.ActivateAndServe()
		}()
		<-up
		stops = append(stops, func() {
			_ = s.Shutdown()
			<-down
		})
	}
	stop := sync.OnceFunc(func() {
		for _, s := range stops {
			s()
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// always answers every question for an address with this one.
func always(ip string) miekg.HandlerFunc {
	return func(w miekg.ResponseWriter, r *miekg.Msg) {
		m := new(miekg.Msg).SetReply(r)
		if q := r.Question[0]; q.Qtype == miekg.TypeA {
			m.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: q.Qclass, Ttl: 60}, A: net.ParseIP(ip)}}
		}
		_ = w.WriteMsg(m)
	}
}

// service makes a service with this address.
func service(t *testing.T, api *clustertest.Cluster, name, ip string) *corev1.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.ClusterIP = ip
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	if err := api.Client().Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// write puts a Corefile in the ConfigMap.
func write(t *testing.T, api *clustertest.Cluster, text string) {
	t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"}, Data: map[string]string{"Corefile": text}}
	err := api.Client().Update(t.Context(), m)
	if err != nil {
		err = api.Client().Create(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func metrics(t *testing.T, addr string) string {
	t.Helper()
	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ownAddress returns an address of loopback that nobody else uses.
func ownAddress() string {
	return fmt.Sprintf("127.%d.%d.%d:5300", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

func TestTheCorefileIsFollowed(t *testing.T) {
	api := clustertest.APIServer(t)
	service(t, api, "web", "10.96.7.1")
	stub, _ := serve(t, "", always("192.0.2.1"))
	counts := ownAddress()
	s, _ := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{}, MetricsBindAddress: counts})
	addr := s.Addresses()[0]
	look := func(name string) func() string { return func() string { return lookup("", "udp", addr, name) } }
	eventually(t, "a stub domain that nobody configured", "REFUSED", look("www.stub.test."))
	write(t, api, `
stub.test {
  forward . `+stub+`
}
. {
  hosts {
    192.0.2.7 printer.example.com
    fallthrough
  }
  rewrite name old.example.com web.default.svc.cluster.local
  kubernetes cluster.local in-addr.arpa ip6.arpa
  forward . /etc/resolv.conf
}`)
	eventually(t, "a stub domain", "192.0.2.1", look("www.stub.test."))
	check := func() {
		t.Helper()
		for name, want := range map[string]string{
			"printer.example.com.": "192.0.2.7", "old.example.com.": "10.96.7.1", "web.default.svc.cluster.local.": "10.96.7.1", "other.example.com.": "REFUSED",
		} {
			if got := look(name)(); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	check()
	before := metrics(t, counts)
	for _, want := range []string{
		`coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="stub.test."}`,
		`coredns_dns_responses_total{plugin=`, `coredns_proxy_request_duration_seconds_count`, "coredns_reload_failed_total 0\n", "go_goroutines",
	} {
		if !strings.Contains(before, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	// One that is wrong leaves the one before in force.
	write(t, api, ". {\n template nonsense nonsense\n}")
	eventually(t, "the count of Corefiles that were not taken", "coredns_reload_failed_total 1", func() string {
		_, rest, _ := strings.Cut(metrics(t, counts), "\ncoredns_reload_failed_total")
		n, _, _ := strings.Cut(rest, "\n")
		return "coredns_reload_failed_total" + n
	})
	check()
	write(t, api, ". {\n kubernetes cluster.local\n hosts {\n 192.0.2.8 printer.example.com\n }\n}")
	eventually(t, "after a change", "192.0.2.8", look("printer.example.com."))
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"}}
	if err := api.Client().Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "after its end", "REFUSED", look("printer.example.com."))
}

func TestCachesDoNotKeepNamesOfTheCluster(t *testing.T) {
	api := clustertest.APIServer(t)
	write(t, api, ". {\n kubernetes cluster.local {\n ttl 3600\n }\n cache 3600\n hosts {\n 192.0.2.7 in.force\n fallthrough\n }\n}")
	s, _ := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{}})
	addr := s.Addresses()[0]
	eventually(t, "the Corefile", "192.0.2.7", func() string { return lookup("", "udp", addr, "in.force.") })
	const name = "web.default.svc.cluster.local."
	for i, want := range []string{"10.96.7.1", "10.96.7.2"} {
		eventually(t, "without a service", "NXDOMAIN", func() string { return lookup("", "udp", addr, name) })
		web := service(t, api, "web", want)
		eventually(t, fmt.Sprintf("service %d", i), want, func() string { return lookup("", "udp", addr, name) })
		if err := api.Client().Delete(t.Context(), web); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnUpstreamServerThatComesBackIsAsked(t *testing.T) {
	api := clustertest.APIServer(t)
	up, stop := serve(t, ownAddress(), always("192.0.2.1"))
	s, _ := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{up}})
	addr := s.Addresses()[0]
	n := 0
	another := func() string { // no name twice: the cache would answer
		n++
		return lookup("", "udp", addr, fmt.Sprintf("n%d.example.com.", n))
	}
	eventually(t, "a name", "192.0.2.1", another)
	stop()
	eventually(t, "while the server is away", "SERVFAIL", another)
	if got := lookup("", "udp", addr, "n1.example.com."); got != "192.0.2.1" {
		t.Errorf("a name that was asked for before: %s, want it from the cache", got)
	}
	serve(t, up, always("192.0.2.2"))
	eventually(t, "when it is back", "192.0.2.2", another)
}

func TestAnUpstreamServerThatAsksUsIsNotUsed(t *testing.T) {
	api := clustertest.APIServer(t)
	var us atomic.Value
	var asked atomic.Int32
	circle, _ := serve(t, "", miekg.HandlerFunc(func(w miekg.ResponseWriter, r *miekg.Msg) {
		asked.Add(1)
		answer := new(miekg.Msg).SetRcode(r, miekg.RcodeServerFailure)
		if to, ok := us.Load().(string); ok {
			if m, _, err := (&miekg.Client{Timeout: time.Second}).Exchange(r, to); err == nil {
				answer = m
			}
		}
		_ = w.WriteMsg(answer)
	}))
	well, _ := serve(t, "", always("192.0.2.1"))
	port := ownAddress()
	us.Store(port)
	start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{port}, Upstreams: []string{circle, well}})
	n := 0
	eventually(t, "names are asked of the other server alone", "all", func() string {
		before := asked.Load()
		for range 10 {
			n++
			if got := lookup("", "udp", port, fmt.Sprintf("n%d.example.com.", n)); got != "192.0.2.1" {
				return got
			}
		}
		if asked.Load() != before {
			return "some"
		}
		return "all"
	})
}

func TestAReloadLosesNoQuery(t *testing.T) {
	api := clustertest.APIServer(t)
	service(t, api, "web", "10.96.7.1")
	up, _ := serve(t, "", always("192.0.2.1"))
	s, _ := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{up}})
	addr := s.Addresses()[0]
	done := make(chan struct{})
	var asking sync.WaitGroup
	var answered atomic.Int64
	for i, network := range []string{"udp", "udp", "tcp"} {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				name, want := "web.default.svc.cluster.local.", "10.96.7.1"
				if n%2 == 1 {
					name, want = fmt.Sprintf("n%d-%d.example.com.", i, n), "192.0.2.1"
				}
				if got := lookup("", network, addr, name); got != want {
					t.Errorf("%s by %s: %s, want %s", name, network, got, want)
					return
				}
				answered.Add(1)
			}
		})
	}
	const reloads = 10
	for n := range reloads {
		ip := fmt.Sprintf("192.0.2.%d", 100+n)
		write(t, api, `. {
 hosts {
  `+ip+` in.force
  fallthrough
 }
 kubernetes cluster.local in-addr.arpa ip6.arpa
 forward . /etc/resolv.conf
 cache 30
}`)
		eventually(t, "a reload", ip, func() string { return lookup("", "udp", addr, "in.force.") })
		have := answered.Load()
		eventually(t, "queries between two reloads", "true", func() string { return fmt.Sprint(answered.Load() > have || t.Failed()) })
	}
	close(done)
	asking.Wait()
	t.Logf("%d queries were answered during %d reloads", answered.Load(), reloads)
}

func TestPodsAreVerifiedWhenACorefileAsksForIt(t *testing.T) {
	api := clustertest.APIServer(t)
	s, _ := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{}})
	addr := s.Addresses()[0]
	const name = "10-244-0-7.default.pod.cluster.local."
	eventually(t, "any address", "10.244.0.7", func() string { return lookup("", "udp", addr, name) })
	write(t, api, ". {\n kubernetes cluster.local {\n pods verified\n }\n}")
	eventually(t, "an address that no pod has", "NXDOMAIN", func() string { return lookup("", "udp", addr, name) })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "client", Namespace: "default"}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "none"}}
	c := api.Client()
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.PodIP, pod.Status.PodIPs = "10.244.0.7", []corev1.PodIP{{IP: "10.244.0.7"}}
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod's address", "10.244.0.7", func() string { return lookup("", "udp", addr, name) })
	pod.Status.Phase = corev1.PodSucceeded
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address of a pod that has ended", "NXDOMAIN", func() string { return lookup("", "udp", addr, name) })
}

package corefile_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/corefile"
)

func TestPluginsAnswer(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	file := filepath.Join(t.TempDir(), "db.zone.test")
	if err := os.WriteFile(file, []byte("@ 60 IN SOA ns hostmaster 1 60 60 60 60\n  IN NS ns\nns IN A 192.0.2.53\nwww IN A 192.0.2.80\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	snippet := filepath.Join(t.TempDir(), "snippet")
	if err := os.WriteFile(snippet, []byte("hosts {\n 192.0.2.7 imported.test\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const k8s = "kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods verified\n fallthrough in-addr.arpa ip6.arpa\n }\n"
	for _, c := range []struct {
		name, text, qname string
		want              string
	}{
		{"a stub domain", "stub.test {\n forward . " + up.addr + "\n}\n. {\n " + k8s + "}", "www.stub.test.", "192.0.2.1"},
		{"a stub domain within a zone", ". {\n forward stub.test " + up.addr + "\n forward . /etc/resolv.conf\n}", "www.stub.test.", "192.0.2.1"},
		{"names beside a stub domain have no servers", ". {\n forward stub.test " + up.addr + "\n forward . /etc/resolv.conf\n}", "www.example.com.", "REFUSED"},
		{"a name that is excepted", ". {\n forward . " + up.addr + " {\n except stub.test\n }\n}", "www.stub.test.", "SERVFAIL"},
		{"hosts by lines", ". {\n hosts {\n 192.0.2.7 printer.test\n fallthrough\n }\n}", "printer.test.", "192.0.2.7"},
		{"hosts do not show the node's own file", ". {\n hosts {\n 192.0.2.7 printer.test\n }\n}", "localhost.", "SERVFAIL"},
		{"hosts without anything", ". {\n hosts\n}", "localhost.", "SERVFAIL"},
		{"a rewritten name, answered as asked", ". {\n rewrite stop name exact old.test web.default.svc.cluster.local answer auto\n " + k8s + "}", "old.test.", "10.96.0.1"},
		{"a rewritten type", ". {\n rewrite type AAAA A\n " + k8s + "}", "web.default.svc.cluster.local.", "10.96.0.1"},
		{"a template", ". {\n template IN A test {\n match ^ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]test[.]$\n answer \"{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}\"\n }\n}", "ip-192-0-2-9.test.", "192.0.2.9"},
		{"an access list that blocks", ". {\n acl {\n block type A net 127.0.0.0/8\n }\n " + k8s + "}", "web.default.svc.cluster.local.", "REFUSED"},
		{"an access list that blocks others", ". {\n acl {\n block type A net 192.0.2.0/24\n }\n " + k8s + "}", "web.default.svc.cluster.local.", "10.96.0.1"},
		{"a zone in a file", "zone.test {\n file " + file + "\n}", "www.zone.test.", "192.0.2.80"},
		{"a Corefile in parts", ". {\n import " + snippet + "\n}", "imported.test.", "192.0.2.7"},
		{"a view by the client", ". {\n view local {\n expr incidr(client_ip(), '127.0.0.0/8')\n }\n hosts {\n 192.0.2.5 view.test\n }\n}\n. {\n hosts {\n 192.0.2.6 view.test\n }\n}", "view.test.", "192.0.2.5"},
		{"a view by the pod that asks", ". {\n metadata\n view inside {\n expr metadata('kubernetes/client-namespace') == 'default' && metadata('kubernetes/service') == 'special'\n }\n template IN A {\n answer \"{{ .Name }} 60 IN A 192.0.2.5\"\n }\n " + k8s + "}\n. {\n " + k8s + "}", "special.default.svc.cluster.local.", "192.0.2.5"},
		{"a view of others", ". {\n metadata\n view inside {\n expr metadata('kubernetes/client-namespace') == 'other'\n }\n template IN A {\n answer \"{{ .Name }} 60 IN A 192.0.2.5\"\n }\n " + k8s + "}\n. {\n " + k8s + "}", "web.default.svc.cluster.local.", "10.96.0.1"},
		{"a verified pod", ". {\n " + k8s + "}", "127-0-0-1.default.pod.cluster.local.", "127.0.0.1"},
		{"an address that no pod has", ". {\n " + k8s + "}", "127-0-0-2.default.pod.cluster.local.", "NXDOMAIN"},
		{"the pod's own search path", ". {\n autopath @kubernetes\n " + k8s + " forward . " + up.addr + "\n}", "www.github.test.default.svc.cluster.local.", "www.github.test.example.com. 192.0.2.1"},
		{"what the node decides", ".:53 {\n errors\n health {\n lameduck 5s\n }\n ready\n " + k8s + " prometheus :9153\n forward . /etc/resolv.conf\n cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }\n loop\n reload\n loadbalance\n bind 192.0.2.1\n multisocket 2\n}", "web.default.svc.cluster.local.", "10.96.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(t, "udp", serve(t, c.text, node(true)), c.qname, dns.TypeA)
			got := strings.Join(addresses(r), " ")
			if got == "" {
				got = dns.RcodeToString[r.Rcode]
			}
			if !strings.HasSuffix(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
			if len(r.Answer) > 0 && r.Answer[0].Header().Name != c.qname {
				t.Errorf("the answer is about %s", r.Answer[0].Header().Name)
			}
		})
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{".:53 {\n nonsense\n}", "Corefile:2 - Error during parsing: Unknown directive 'nonsense'"},
		{".:53 {\n errors\n route53 example.org:Z1\n}", `Corefile:3 - Error during parsing: plugin "route53" is not supported`},
		{".:53 {\n debug\n}", `Corefile:2 - Error during parsing: plugin "debug" is not supported: a fault would end the process of the node`},
		{". {\n kubernetes {\n  pods sometimes\n }\n}", "Corefile:3 - Error during parsing: wrong value for pods: sometimes,  must be one of: disabled, verified, insecure"},
		{". {\n kubernetes {\n  ttl 4000\n }\n}", "Corefile:3 - Error during parsing: ttl must be in range [0, 3600]: 4000"},
		{". {\n kubernetes {\n  ttl\n }\n}", "Corefile:3 - Error during parsing: Wrong argument count"},
		{". {\n kubernetes {\n  nonsense\n }\n}", "unknown property 'nonsense'"},
		{". {\n kubernetes {\n  kubeconfig /x\n }\n}", `option "kubeconfig" of kubernetes is not supported: names are those of the node's own cluster`},
		{". {\n kubernetes {\n  namespaces a\n  namespace_labels b=c\n }\n}", "namespaces and namespace_labels cannot both be set"},
		{". {\n kubernetes {\n  labels a=b=c\n }\n}", "unable to parse label selector value"},
		{". {\n kubernetes {\n  apiserver_qps many\n }\n}", "invalid apiserver_qps"},
		{". {\n kubernetes in-addr.arpa\n}", "non-reverse zone name must be used"},
		{". {\n kubernetes cluster.local\n kubernetes other.local\n}", "this plugin can only be used once per Server Block"},
		{". {\n forward . /nowhere\n}", "Corefile:2: forward: servers of /nowhere: it is nowhere"},
		{". {\n forward .\n}", "Corefile:2"},
		{". {\n forward . 192.0.2.1 {\n  nonsense\n }\n}", "unknown property 'nonsense'"},
		{". {\n health {\n  nonsense\n }\n}", "unknown property 'nonsense'"},
		{".:5353 {\n}", "only plain DNS at port 53 is served"},
		{"tls://. {\n}", "only plain DNS at port 53 is served"},
		{". {\n log\n", "Corefile:2"},
		{". {\n}\n. {\n}", "cannot serve dns://.:53 - it is already defined"},
		{". {\n hosts {\n 192.0.2.1 a.test\n fallthrough\n nonsense\n }\n}", "unknown property 'nonsense'"},
		{". {\n hosts {\n 192.0.2.1 a.test\n }\n forward . tls://192.0.2.1 {\n tls nothing nothing\n }\n}", "Corefile:6"},
		{". {\n autopath @whoami\n whoami\n}", "whoami does not implement the AutoPather interface"},
		{". {\n rewrite name regex ( x\n}", "invalid regex matching pattern"},
		{". {\n cache -1\n}", "cache TTL can not be zero or negative"},
		{". {\n cache {\n  prefetch 1 1m \"\"\n }\n}", "Corefile:3: plugin cache can't read its options"},
		{"# nothing\n", "want a server block"},
	} {
		t.Run(c.want, func(t *testing.T) {
			n := node(true)
			n.Servers = func(string) ([]string, error) { return nil, fmt.Errorf("it is nowhere") }
			chain, err := corefile.Load(c.text, n)
			if err == nil {
				_ = chain.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
	expectNothingLeft(t)
}

func TestUpstreamServersAreTold(t *testing.T) {
	n := node(true)
	n.Servers = func(string) ([]string, error) {
		return []string{"192.0.2.1:53", "192.0.2.2:53", "[2001:db8::1]:53"}, nil
	}
	n.Skip = func(addr string) bool { return addr == "192.0.2.2:53" || addr == "192.0.2.9:53" }
	c := load(t, "a.test {\n forward . 192.0.2.3 192.0.2.9 tls://192.0.2.4 192.0.2.5:5353\n}\n. {\n forward . /etc/resolv.conf\n}", n)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if want := []string{"192.0.2.3:53", "192.0.2.5:5353", "192.0.2.1:53", "[2001:db8::1]:53"}; !slices.Equal(c.Upstreams, want) {
		t.Errorf("%q, want %q", c.Upstreams, want)
	}
}

func TestAChainLeavesNothingBehind(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	c := load(t, ". {\n hosts /dev/null a.test\n forward . "+up.addr+"\n cache 30\n errors\n}", node(true))
	ask(t, "udp", start(t, handler(t, c)), "www.example.com.", dns.TypeA)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if c.ServeDNS(t.Context(), nil, nil) {
		t.Error("a closed chain answers")
	}
	expectNothingLeft(t)
}

// expectNothingLeft waits until no goroutine of a plugin is left: they end by
// themselves once they are told.
func expectNothingLeft(t *testing.T) {
	t.Helper()
	left := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		left = ""
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "created by github.com/coredns/") {
				left = g
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("left behind:\n%s", left)
}

func TestProgramsKeepTheirFlags(t *testing.T) {
	for _, name := range []string{"conf", "version", "p", "quiet"} {
		if flag.Lookup(name) != nil {
			t.Errorf("flag -%s is taken", name)
		}
	}
	if flag.Lookup("test.run") == nil {
		t.Error("a flag of others is gone")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(plain("192.0.2.1"))
	f.Add("a { hosts {\n ::1 x\n}\n forward . 192.0.2.1 {\n except a b\n}\n}\n")
	f.Add("(s) {\n forward \"\"\n}\n. {\n import s\n forward {\n }\n}")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, risky := range []string{"import", "file", "auto", "secondary", "/", "$", "sign", "resolver"} {
			if strings.Contains(text, risky) {
				return // these read the machine
			}
		}
		if c, err := corefile.Load(text, node(true)); err == nil {
			_ = c.Close()
		}
	})
}

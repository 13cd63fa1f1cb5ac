package corefile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/dns/corefile"
)

func noFiles(string) ([]byte, error) { return nil, errors.New("there are no files") }

func parse(t *testing.T, text string) *corefile.Config {
	t.Helper()
	c, err := corefile.Parse(text, "cluster.local", noFiles)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheDefaultIsKubeadms(t *testing.T) {
	b := parse(t, corefile.Default).Match("example.com.")
	if b == nil || b.Kubernetes == nil || b.Kubernetes.TTL != 30 || len(b.Forwards) != 1 || b.Forwards[0].To[0] != "/etc/resolv.conf" ||
		b.Forwards[0].MaxConcurrent != 1000 || b.Cache == nil || b.Cache.Success != 30 || b.Cache.Denial != 30 {
		t.Errorf("%+v", b)
	}
}

func TestABlockHoldsItsZones(t *testing.T) {
	c := parse(t, `
# stub domains
example.org:53, corp.example.org,
10.1.0.0/16 {
	forward . 10.1.1.1 10.1.1.2:5353 dns://10.1.1.3 {
		policy sequential
		except private.example.org
		force_tcp
	}
}
. {
	log
	hosts {
		10.0.0.1 One.test two.test
		2001:db8::1 one.test
		ttl 60
		fallthrough
	}
	rewrite stop name exact old.test new.test
	rewrite name suffix .old .new answer auto
	rewrite continue name regex (.*)\.(.*)\.x {2}.{1}.y
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		pods disabled
	}
	cache {
		success 1000 20
		disable denial
	}
}`)
	if len(c.Blocks) != 2 {
		t.Fatalf("%d blocks", len(c.Blocks))
	}
	for name, want := range map[string]int{"a.example.org.": 0, "corp.example.org.": 0, "1.2.1.10.in-addr.arpa.": 0, "example.com.": 1, "1.2.2.10.in-addr.arpa.": 1} {
		if c.Match(name) != c.Blocks[want] {
			t.Errorf("%s is not of block %d", name, want)
		}
	}
	f := c.Blocks[0].Forwards[0]
	if got := strings.TrimSpace(fmt.Sprintln(f.From, f.To, f.Policy, f.Except, f.ForceTCP)); got != ". [10.1.1.1:53 10.1.1.2:5353 10.1.1.3:53] sequential [private.example.org.] true" {
		t.Error(got)
	}
	b := c.Blocks[1]
	if got := strings.TrimSpace(fmt.Sprintln(b.Log, b.Hosts.Addresses["one.test."], b.Hosts.TTL, b.Hosts.Fallthrough, b.Kubernetes.PodsDisabled, *b.Cache)); got != "true [10.0.0.1 2001:db8::1] 60 [.] true {20 0}" {
		t.Error(got)
	}
	for name, want := range map[string]string{"old.test.": "new.test.", "a.old.": "a.new.", "a.b.x.": "b.a.y."} {
		got := name
		for i := range b.Rewrites {
			if to, ok := b.Rewrites[i].Apply(name); ok {
				got = to
				break
			}
		}
		if got != want {
			t.Errorf("%s became %s, want %s", name, got, want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{".:53 {\n template IN A {\n }\n}", `Corefile:2: plugin "template" is not supported`},
		{". {\n kubernetes other.local\n}", "the cluster's domain is cluster.local., not other.local."},
		{". {\n kubernetes {\n  pods verified\n }\n}", `option "pods verified" is not supported`},
		{". {\n kubernetes {\n  ttl 4000\n }\n}", "want a number from 0 to 3600"},
		{". {\n forward . example.com\n}", `"example.com" is no address`},
		{". {\n forward . tls://1.1.1.1\n}", "only plain DNS is supported"},
		{". {\n forward .\n}", "want a zone and servers"},
		{".:5353 {\n}", "the port is 53"},
		{"https://. {\n}", "only plain DNS is served"},
		{". {\n log\n", "a { is not closed"},
		{"}", "unexpected }"},
		{". {\n}\n. {\n}", "is in two server blocks"},
		{". {\n hosts {\n  one 1.2.3.4\n }\n}", `have "one"`},
		{". {\n hosts /nowhere\n}", "there are no files"},
		{". {\n rewrite type ANY HINFO\n}", "only rules of names"},
		{". {\n rewrite name regex ( x\n}", "missing closing"},
		{". {\n cache 30 example.org\n}", "zones are not supported"},
		{"\".", "a quote is not closed"},
		{"10.1.0.0/15 {\n}", "want a multiple of 8 bits"},
		{".", "want a server block"},
	} {
		t.Run(c.want, func(t *testing.T) {
			if _, err := corefile.Parse(c.text, "cluster.local", noFiles); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(corefile.Default)
	f.Add("a { hosts {\n ::1 x\n} }")
	f.Fuzz(func(_ *testing.T, text string) {
		c, err := corefile.Parse(text, "cluster.local", noFiles)
		if err != nil {
			return
		}
		for _, b := range c.Blocks {
			for i := range b.Rewrites {
				b.Rewrites[i].Apply("a.b.")
			}
		}
	})
}

package cluster_test

import (
	"net"
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
)

func TestNetworksOfACluster(t *testing.T) {
	for _, c := range []struct{ name, pods, services, want string }{
		{"one of each", "10.1.0.0/16", "10.2.0.0/16", ""},
		{"both families, IPv4 first", "10.1.0.0/16,fd00:1::/56", "10.2.0.0/16,fd00:2::/112", ""},
		{"both families, IPv6 first", "fd00:1::/56,10.1.0.0/16", "fd00:2::/112,10.2.0.0/16", ""},
		{"IPv6 alone", "fd00:1::/56", "fd00:2::/112", ""},
		{"pods of both and services of one", "10.1.0.0/16,fd00:1::/56", "10.2.0.0/16", ""},
		{"services of a family that pods lack", "10.1.0.0/16", "10.2.0.0/16,fd00:2::/112", "--service-cluster-ip-range fd00:2::/112: no pod has an address of that family, which --cluster-cidr 10.1.0.0/16 gives"},
		{"two of one family", "10.1.0.0/16,10.3.0.0/16", "10.2.0.0/16", "--cluster-cidr 10.1.0.0/16,10.3.0.0/16: there is one network, or one for each of IPv4 and IPv6"},
		{"three", "10.1.0.0/16", "10.2.0.0/16,fd00:2::/112,10.3.0.0/16", "there is one network, or one for each of IPv4 and IPv6"},
		{"the second is none", "10.1.0.0/16,fd00:1::", "10.2.0.0/16", `--cluster-cidr "fd00:1::" is not a network such as 10.244.0.0/16`},
		{"overlap in the second family", "10.1.0.0/16,fd00:1::/56", "10.2.0.0/16,fd00:1::/112", "--cluster-cidr fd00:1::/56 and --service-cluster-ip-range fd00:1::/112 overlap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := cluster.Config{ClusterCIDR: c.pods, APIServer: apiserver.Config{ServiceClusterIPRange: c.services}}.Validate()
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAdvertiseAddress(t *testing.T) {
	for _, c := range []struct {
		name, bind, services string
		want                 func(net.IP) bool
	}{
		{"a server on one address is reached there", "10.0.0.1", "fd00::/112", net.ParseIP("10.0.0.1").Equal},
		{"one on all of them by the family of its Service, IPv4", "0.0.0.0", "10.96.0.0/12,fd00::/112", func(ip net.IP) bool { return ip.To4() != nil }},
		{"one on all of them by the family of its Service, IPv6", "0.0.0.0", "fd00::/112", func(ip net.IP) bool { return ip.To4() == nil }},
		{"IPv4 where no services are told", "::", "", func(ip net.IP) bool { return ip.To4() != nil }},
	} {
		if got := cluster.AdvertiseAddress(net.ParseIP(c.bind), c.services); !c.want(got) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

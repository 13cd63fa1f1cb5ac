package nftables_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/proxier/model"
)

// Administrators and other programs list the ruleset; old versions of nft abort
// when a key is made of something that they do not know.
func TestTheNftProgramListsTheRules(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("there is no nft program on this machine")
	}
	b, cfg := openInNewNS(t)
	s := &model.Service{Key: "default/all"}
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		vip, server := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddrPort("10.244.0.1:8080")
		if family == corev1.IPv6Protocol {
			vip, server = netip.MustParseAddr("fd00:96::1"), netip.MustParseAddrPort("[fd00:244::1]:8080")
		}
		for i, affinity := range []time.Duration{0, time.Hour} {
			p := model.Port{Name: "p", Protocol: corev1.ProtocolTCP, Family: family, Affinity: affinity}
			p.Cluster = []model.Endpoint{{AddrPort: server, OnNode: true}}
			p.Local = p.Cluster
			p.Frontends = []model.Frontend{
				{Kind: model.ClusterIP, Addr: vip, Port: uint16(80 + i)},
				{Kind: model.External, Addr: vip.Next(), Port: uint16(80 + i), Local: true, SourceRanges: []netip.Prefix{netip.PrefixFrom(vip, 8).Masked()}},
				{Kind: model.NodePort, Port: uint16(30080 + i), Local: i == 0},
			}
			s.Ports = append(s.Ports, p)
		}
	}
	if err := b.Apply(t.Context(), []model.Change{{Key: s.Key, Service: s}}); err != nil {
		t.Fatal(err)
	}
	var out []byte
	if err := netns.Do(cfg.NetNS, func() error {
		out, err = exec.CommandContext(t.Context(), nft, "list", "ruleset").CombinedOutput()
		return err
	}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"table ip skiff-proxy", "table ip6 skiff-proxy", "chain services-n-1-sticky", "chain remember-3600s",
		"10.96.0.1 . tcp . 80 : goto services-", "dnat", "masquerade",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the list has no %q:\n%s", want, out)
		}
	}
}

package dns_test

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
)

// TestWhatAKilledProcessLeftIsRemoved has nobody call what BindAddress returns.
func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	path := netnstest.New(t)
	for _, a := range []string{"10.96.0.10", "fd00:96::a"} {
		if _, err := dns.BindAddress(path, netip.MustParseAddr(a)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // nothing to remove is no error
		if err := dns.Cleanup(path); err != nil {
			t.Error(err)
		}
	}
	err := netns.Do(path, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range addresses {
			if !a.IP.IsLoopback() {
				t.Errorf("%s is left", a)
			}
		}
		if len(links) != 1 {
			t.Errorf("there are %d links, not lo alone", len(links))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

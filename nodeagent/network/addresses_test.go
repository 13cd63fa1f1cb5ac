package network_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/skiffcluster/skiff/nodeagent/network"
)

func TestAddresses(t *testing.T) {
	ctx := context.Background()
	n := network.NewNone()
	if _, err := n.Reserve(ctx, "early"); !errors.Is(err, network.ErrNotReady) {
		t.Errorf("before the CIDR is known: got %v, want ErrNotReady", err)
	}
	if err := n.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.1.2.0/29"), netip.MustParsePrefix("fd00::/126")}); err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]string{}
	for i := range 2 {
		id := fmt.Sprintf("pod-%d", i)
		ips, err := n.Reserve(ctx, id)
		if err != nil || len(ips) != 2 {
			t.Fatalf("%s: got %v, %v", id, ips, err)
		}
		for _, ip := range ips {
			if other, ok := seen[ip]; ok {
				t.Errorf("%s was given to %s and %s", ip, other, id)
			}
			seen[ip] = id
		}
		again, err := n.Reserve(ctx, id)
		if err != nil || again[0] != ips[0] || again[1] != ips[1] {
			t.Errorf("%s again: got %v, %v, want %v", id, again, err, ips)
		}
	}
	for ip := range seen {
		if ip == netip.MustParseAddr("10.1.2.0") || ip == netip.MustParseAddr("10.1.2.1") || ip == netip.MustParseAddr("10.1.2.7") || ip == netip.MustParseAddr("fd00::1") {
			t.Errorf("%s is not for pods", ip)
		}
	}
	// Version 6 has no third address: fd00::2 and ::3 are given.
	if ips, err := n.Reserve(ctx, "third"); err == nil {
		t.Errorf("a full CIDR gave %v", ips)
	}
	if err := n.Detach(ctx, "pod-0"); err != nil {
		t.Fatal(err)
	}
	if ips, err := n.Reserve(ctx, "third"); err != nil || ips[0] != netip.MustParseAddr("10.1.2.4") || ips[1] != netip.MustParseAddr("fd00::2") {
		t.Errorf("after one was freed: got %v, %v", ips, err)
	}
}

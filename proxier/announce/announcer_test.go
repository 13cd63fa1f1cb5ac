package announce_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/internal/addrpool"
	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/proxier/announce"
)

const patience = 30 * time.Second

// network connects hosts by a bridge, each at 192.0.2.x and 2001:db8::x.
func network(t *testing.T, n int) []string {
	t.Helper()
	middle := netnstest.New(t)
	must(t, middle, func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br", Flags: net.FlagUp}})
	})
	var hosts []string
	for i := range n {
		host := netnstest.New(t)
		h, err := vnetns.GetFromPath(host)
		if err != nil {
			t.Fatal(err)
		}
		must(t, middle, func() error {
			name := fmt.Sprintf("p%d", i)
			bridge, err := netlink.LinkByName("br")
			if err != nil {
				return err
			}
			v := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
				PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(h)),
			}
			return netlink.LinkAdd(v)
		})
		_ = h.Close()
		must(t, host, func() error {
			eth, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, cidr := range []string{fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1)} {
				a, err := netlink.ParseAddr(cidr)
				if err != nil {
					return err
				}
				a.Flags = unix.IFA_F_NODAD
				if a.IP.To4() != nil {
					a.Flags = 0
				}
				if err := netlink.AddrAdd(eth, a); err != nil {
					return err
				}
			}
			if err := netlink.LinkSetUp(eth); err != nil {
				return err
			}
			l, err := net.Listen("tcp", ":7777")
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = fmt.Fprintf(c, "host%d\n", i)
					_ = c.Close()
				}
			}()
			return nil
		})
		hosts = append(hosts, host)
	}
	return hosts
}

func must(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}

// who returns which host answers at addr, for a client on from.
func who(from, addr string) string {
	answer := ""
	_ = netns.Do(from, func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "7777"), time.Second)
		if err != nil {
			answer = err.Error()
			return nil
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		answer, err = bufio.NewReader(c).ReadString('\n')
		if err != nil {
			answer = err.Error()
		}
		return nil
	})
	return strings.TrimSpace(answer)
}

func eventually(t *testing.T, what, want string, get func() string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: %q, want %q", what, got, want)
}

func TestOneNodeHasTheAddressAndAnotherTakesOver(t *testing.T) {
	hosts := network(t, 3) // two nodes and a client
	client := hosts[2]
	api := clustertest.APIServer(t)
	k, err := kubernetes.NewForConfig(api.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := addrpool.Parse("192.0.2.100-192.0.2.110,2001:db8::100/124")
	if err != nil {
		t.Fatal(err)
	}
	vips := []string{"192.0.2.100", "2001:db8::100"}
	wanted := map[netip.Addr]bool{}
	for _, v := range vips {
		wanted[netip.MustParseAddr(v)] = true
	}
	run := func(i int) (*announce.Announcer, func()) {
		a := &announce.Announcer{Client: k, NodeName: fmt.Sprintf("host%d", i), NetNS: hosts[i], Pool: pool}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		stop := func() { cancel(); <-done }
		t.Cleanup(stop)
		return a, stop
	}
	// Want does nothing until Run has begun.
	want := func(a *announce.Announcer, v string, by string) {
		t.Helper()
		eventually(t, v, by, func() string { a.Want(wanted); return who(client, v) })
	}
	first, stop := run(0)
	for _, v := range vips {
		want(first, v, "host0")
	}
	second, _ := run(1)
	second.Want(wanted)
	for _, v := range vips {
		if got := who(client, v); got != "host0" {
			t.Errorf("%s: %s, want host0", v, got)
		}
	}
	stop()
	for _, v := range vips {
		want(second, v, "host1") // the client's neighbour table has host0
	}
	lease, err := k.CoordinationV1().Leases("kube-system").Get(t.Context(), "skiff-lb-192-0-2-100", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != "host1" {
		t.Errorf("lease %v, %v; want host1's", lease, err)
	}
	second.Want(nil)
	eventually(t, "addresses that nobody wants", "gone", func() string {
		state := "gone"
		_ = netns.Do(hosts[1], func() error {
			list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
			for _, a := range list {
				if addr, _ := netip.AddrFromSlice(a.IP); pool.Contains(addr.Unmap()) {
					state = "still there"
				}
			}
			return err
		})
		return state
	})
}

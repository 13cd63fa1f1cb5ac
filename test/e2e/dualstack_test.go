package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDualStack has pods, nodes and services with addresses of both families, and
// of IPv6 alone.
func TestDualStack(t *testing.T) {
	inside(t)
	if !hasIPv6() {
		t.Skip("the kernel has no IPv6")
	}
	for _, tt := range []struct{ name, profile, pods, services, networks string }{
		{"IPv4 first, on one network", "dual4", "10.80.0.0/16,fd00:80::/56", "10.81.0.0/16,fd00:81::/112", "1"},
		{"IPv6 first, each node on a network of its own", "dual6", "fd00:90::/56,10.90.0.0/16", "fd00:91::/112,10.91.0.0/16", "2"},
		{"IPv6 alone", "only6", "fd00:a0::/56", "fd00:a1::/112", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &cluster{profile: tt.profile}
			c.start(t, "--nodes", "2", "--node-networks", tt.networks, "--secure-port", "7444", "--cluster-cidr", tt.pods, "--service-cluster-ip-range", tt.services)
			t.Cleanup(func() { c.remove(t) })
			c.load(t)
			k := newNamespace(t, c)
			families := familiesOf(t, tt.pods)
			t.Run("nodes have networks and addresses of each", func(t *testing.T) { dualNodes(t, k, families) })
			pods := k.spread(t, "web")
			t.Run("pods reach pods by each", func(t *testing.T) { dualPods(t, k, pods, families) })
			t.Run("services have the families that they ask for", func(t *testing.T) { dualServices(t, k, pods, families) })
			t.Run("the API server reaches services", func(t *testing.T) { proxied(t, k) })
			contains(t, "the API from a pod", k.fails(t, "exec", pods[1].Name, "--", "wget", "https://kubernetes.default/version"), "certificate signed by unknown authority")
		})
	}
}

// familiesOf says for each address or network of a list whether it is of IPv6.
func familiesOf(t *testing.T, list string) []bool {
	t.Helper()
	var out []bool
	for text := range strings.SplitSeq(list, ",") {
		text, _, _ = strings.Cut(text, "/")
		a, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a.Is6())
	}
	return out
}

func dualNodes(t *testing.T, k *kubectl, families []bool) {
	nodes, err := k.client(t).CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Fatalf("got %d nodes, %v", len(nodes.Items), err)
	}
	for _, n := range nodes.Items {
		if got := familiesOf(t, strings.Join(n.Spec.PodCIDRs, ",")); !slices.Equal(got, families) || n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
			t.Errorf("node %s has the pod CIDRs %v", n.Name, n.Spec.PodCIDRs)
		}
		var own []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				own = append(own, a.Address)
			}
		}
		if got := familiesOf(t, strings.Join(own, ",")); !slices.Equal(got, families) {
			t.Errorf("node %s has the addresses %v", n.Name, own)
		}
	}
}

func dualPods(t *testing.T, k *kubectl, pods []corev1.Pod, families []bool) {
	for _, to := range pods {
		var ips, hosts []string
		for _, ip := range to.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		for _, ip := range to.Status.HostIPs {
			hosts = append(hosts, ip.IP)
		}
		if !slices.Equal(familiesOf(t, strings.Join(ips, ",")), families) || !slices.Equal(familiesOf(t, strings.Join(hosts, ",")), families) || to.Status.PodIP != ips[0] {
			t.Fatalf("pod %s has the addresses %v on %v", to.Name, ips, hosts)
		}
		for _, from := range pods {
			for i, ip := range ips {
				out, err := k.try("exec", from.Name, "--", "wget", "http://"+net.JoinHostPort(ip, "8080")+"/")
				if err != nil || !strings.Contains(out, "Hello from "+to.Name) {
					t.Errorf("%s on %s to %s on %s: %v\n%s", from.Name, from.Spec.NodeName, ip, to.Spec.NodeName, err, out)
				}
				contains(t, "log of "+to.Name, k.run(t, "logs", to.Name), "from "+net.JoinHostPort(from.Status.PodIPs[i].IP, ""))
			}
		}
	}
}

// dual is a service of web's pods.
const dual = `
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}], ipFamilyPolicy: POLICY FAMILIES}
`

func dualServices(t *testing.T, k *kubectl, pods []corev1.Pod, families []bool) {
	type service struct {
		name, policy, families string
		want                   []bool
	}
	services := []service{{"single", "SingleStack", "", families[:1]}, {"web", "PreferDualStack", "", families}}
	if len(families) == 2 {
		second := map[bool]string{false: "IPv4", true: "IPv6"}[families[1]]
		services = append(services, service{"other", "SingleStack", ", ipFamilies: [" + second + "]", families[1:]},
			service{"both", "RequireDualStack", "", families})
	}
	for _, tt := range services {
		k.apply(t, strings.NewReplacer("NAME", tt.name, "POLICY", tt.policy, "FAMILIES", tt.families).Replace(dual))
		s, err := k.client(t).CoreV1().Services(k.namespace).Get(context.Background(), tt.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := familiesOf(t, strings.Join(s.Spec.ClusterIPs, ",")); !slices.Equal(got, tt.want) {
			t.Errorf("service %s has the addresses %v", tt.name, s.Spec.ClusterIPs)
		}
		for _, ip := range s.Spec.ClusterIPs {
			reachesAll(t, k, pods[0].Name, "http://"+net.JoinHostPort(ip, "80")+"/", pods)
			eventually(t, "the name of "+tt.name+" has "+ip, func() (bool, string) {
				out, err := k.try("exec", pods[1].Name, "--", "nslookup", tt.name)
				return err == nil && strings.Contains(out, ip), out
			})
		}
		reachesAll(t, k, pods[1].Name, "http://"+tt.name+"/", pods)
		// From the machine, by each address of a node of a family that it has.
		node, err := k.client(t).CoreV1().Nodes().Get(context.Background(), pods[0].Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range node.Status.Addresses {
			if a.Type != corev1.NodeInternalIP || !slices.Contains(tt.want, familiesOf(t, a.Address)[0]) {
				continue
			}
			eventually(t, "the node port of "+tt.name+" answers on "+a.Address, func() (bool, string) {
				err := ask("http://"+net.JoinHostPort(a.Address, fmt.Sprint(s.Spec.Ports[0].NodePort)), "Hello from web-")
				return err == nil, fmt.Sprint(err)
			})
		}
	}
}

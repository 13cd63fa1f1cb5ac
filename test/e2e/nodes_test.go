package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/test/namespaces"
)

// manyFlags make a cluster whose nodes are missed within seconds. It stands
// beside the shared one: its networks and its port are others.
var manyFlags = []string{
	"--secure-port", "7443", "--cluster-cidr", "10.60.0.0/16", "--service-cluster-ip-range", "10.61.0.0/16",
	"--node-monitor-period", "500ms", "--node-monitor-grace-period", "4s", "--node-lease-renew-interval", "1s",
}

// TestThreeNodes has three nodes with containers, each on a host of its own, and
// loses some of them.
func TestThreeNodes(t *testing.T) {
	inside(t)
	for _, networks := range []string{"1", "3"} {
		t.Run(map[string]string{"1": "on one network", "3": "each on a network of its own"}[networks], func(t *testing.T) {
			c := &cluster{profile: "many" + networks}
			flags := append([]string{"--nodes", "3", "--node-networks", networks}, manyFlags...)
			c.start(t, flags...)
			t.Cleanup(func() { c.remove(t) })
			c.load(t)
			k := newNamespace(t, c)
			t.Run("traffic between nodes", func(t *testing.T) { nodesTalk(t, k) })
			t.Run("the API server reaches services", func(t *testing.T) { proxied(t, k) })
			t.Run("network policies hold between nodes", func(t *testing.T) { policiesHold(t, k) })
			if networks == "1" {
				t.Run("a node is cut off and comes back", func(t *testing.T) { cutOff(t, k) })
				t.Run("a node's agent stops for good", func(t *testing.T) { outOfService(t, k) })
				t.Run("skiff is killed and starts again", func(t *testing.T) { killed(t, k, flags) })
			}
		})
	}
}

// remove deletes a cluster, after which nothing of it may be left.
func (c *cluster) remove(t *testing.T) {
	t.Helper()
	if t.Failed() {
		for i := range 3 {
			raw, err := os.ReadFile(filepath.Join(c.dir(), "nodes", c.node(i), "host", "node.log"))
			lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
			t.Logf("log of node %d: %v\n%s", i, err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	}
	if out, err := skiff("delete", "--profile", c.profile, "--data-dir", c.dir(), "--kubeconfig", c.kubeconfig()).CombinedOutput(); err != nil {
		t.Errorf("skiff delete: %v\n%s", err, out)
	}
	eachProcess(t, func(_ int, args []string) {
		if all := strings.Join(args, " "); strings.Contains(all, c.dir()+"/") {
			t.Errorf("process is left: %s", all)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.dir()+"/") {
			t.Errorf("mount is left: %s", line)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	others := []string{"skiff0", "skiff-svc", "skiff-dns"} // the cluster's of the other tests
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "skiff") && !slices.Contains(others, name) {
			t.Errorf("link is left: %s", name)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/skiff-*-" + c.profile + "-*", "/sys/fs/cgroup/*/skiff-*-" + c.profile + "-*"} {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			t.Errorf("cgroups are left: %v, %v", left, err)
		}
	}
	if _, err := os.Stat(c.dir()); err == nil {
		t.Error("the data directory is left")
	}
}

func (c *cluster) node(i int) string { return fmt.Sprintf("%s-%d", c.profile, i) }

// spread runs pods of an image on every node.
const spread = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: ` + helloV1 + `, ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {port: web}, periodSeconds: 1}}
`

func (k *kubectl) spread(t *testing.T, name string) []corev1.Pod {
	t.Helper()
	k.apply(t, strings.ReplaceAll(spread, "NAME", name))
	k.run(t, "rollout", "status", "daemonset/"+name, "--timeout=90s")
	pods := k.pods(t, "app="+name)
	nodes := map[string]bool{}
	for _, p := range pods {
		nodes[p.Spec.NodeName] = true
	}
	if n := len(k.addresses(t)); len(pods) != n || len(nodes) != n {
		t.Fatalf("got %d pods on %v, want one on each of %d nodes", len(pods), nodes, n)
	}
	return pods
}

// addresses are the nodes' own, by name.
func (k *kubectl) addresses(t *testing.T) map[string]string {
	t.Helper()
	nodes, err := k.client(t).CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				out[n.Name] = a.Address
			}
		}
	}
	return out
}

func nodesTalk(t *testing.T, k *kubectl) {
	pods := k.spread(t, "web")
	for _, from := range pods {
		for _, to := range pods {
			out, err := k.try("exec", from.Name, "--", "wget", "http://"+net.JoinHostPort(to.Status.PodIP, "8080")+"/")
			if err != nil || !strings.Contains(out, "Hello from "+to.Name) {
				t.Errorf("%s on %s to %s on %s: %v\n%s", from.Name, from.Spec.NodeName, to.Name, to.Spec.NodeName, err, out)
			}
		}
		contains(t, "logs", k.run(t, "logs", from.Name), "serving on :8080")
		want(t, k.run(t, "exec", from.Name, "--", "hostname"), from.Name+"\n")
	}
	// What a pod asks comes with its own address, from whichever node.
	for _, from := range pods {
		contains(t, "log of "+pods[0].Name, k.run(t, "logs", pods[0].Name), "from "+from.Status.PodIP+":")
	}
	k.run(t, "create", "service", "nodeport", "web", "--tcp=80:8080") // which selects app=web
	for _, from := range pods {
		reachesAll(t, k, from.Name, "http://web/", pods)
	}
	port := k.run(t, "get", "service/web", "-o", "jsonpath={.spec.ports[0].nodePort}")
	addresses := k.addresses(t)
	if len(addresses) != len(pods) {
		t.Fatalf("nodes have the addresses %v", addresses)
	}
	for node, address := range addresses {
		eventually(t, "the node port of "+node+" answers", func() (bool, string) {
			err := ask("http://"+net.JoinHostPort(address, port), "Hello from web-")
			return err == nil, fmt.Sprint(err)
		})
	}
	portForward(t, k)
	contains(t, "the API from a pod", k.fails(t, "exec", pods[1].Name, "--", "wget", "https://kubernetes.default/version"), "certificate signed by unknown authority")
}

func policiesHold(t *testing.T, k *kubectl) {
	servers, clients := k.spread(t, "server"), k.spread(t, "client")
	reach := func(what string, wanted bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s: every client reaches every server: %v", what, wanted), func() (bool, string) {
			// All at once: what is denied is waited for in vain.
			var seen [3][3]string
			var group sync.WaitGroup
			for i, from := range clients {
				for j, to := range servers {
					group.Go(func() {
						out, err := k.try("exec", from.Name, "--", "wget", "http://"+net.JoinHostPort(to.Status.PodIP, "8080")+"/")
						if (err == nil) != wanted {
							seen[i][j] = fmt.Sprintf("%s on %s to %s on %s: %v %s\n", from.Name, from.Spec.NodeName, to.Name, to.Spec.NodeName, err, out)
						}
					})
				}
			}
			group.Wait()
			return seen == [3][3]string{}, fmt.Sprint(seen)
		})
	}
	reach("without policies", true)
	k.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
`)
	reach("denied", false)
	// Probes come from the node and go on: the pods stay ready.
	for _, p := range k.pods(t, "app=server") {
		if !isReady(&p) {
			t.Errorf("pod %s is not ready", p.Name)
		}
	}
	k.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: web}]}]
`)
	reach("allowed by label and named port", true)
	k.run(t, "label", "pod", clients[0].Name, "app-", "--overwrite")
	eventually(t, "a pod that has lost the label is denied", func() (bool, string) {
		out, err := k.try("exec", clients[0].Name, "--", "wget", "http://"+net.JoinHostPort(servers[1].Status.PodIP, "8080")+"/")
		return err != nil, out
	})
	k.run(t, "delete", "networkpolicy", "deny", "allow")
	k.run(t, "delete", "pod", clients[0].Name)
	k.run(t, "delete", "daemonset", "server", "client")
}

// wire finds the machine's end of a host's link, and cuts or joins it.
func (c *cluster) wire(t *testing.T, node string, up bool) {
	t.Helper()
	end := namespaces.HostLink(t, filepath.Join(c.dir(), "hosts", node))
	set := netlink.LinkSetDown
	if up {
		set = netlink.LinkSetUp
	}
	if err := set(end); err != nil {
		t.Fatal(err)
	}
}

func (k *kubectl) waitNode(t *testing.T, name string, ready corev1.ConditionStatus) {
	t.Helper()
	eventually(t, fmt.Sprintf("Ready of node %s is %s", name, ready), func() (bool, string) {
		n, err := k.client(t).CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		return i >= 0 && n.Status.Conditions[i].Status == ready, fmt.Sprint(n.Status.Conditions, n.Spec.Taints)
	})
}

// moving is a deployment whose pods leave a dead node after a second.
const moving = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: moving}
spec:
  replicas: 3
  selector: {matchLabels: {app: moving}}
  template:
    metadata: {labels: {app: moving}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: moving}}}
      containers:
      - {name: main, image: ` + helloV1 + `}
`

func cutOff(t *testing.T, k *kubectl) {
	k.apply(t, moving)
	k.run(t, "rollout", "status", "deployment/moving", "--timeout=90s")
	k.run(t, "expose", "deployment", "moving", "--port=80", "--target-port=8080")
	pods := k.pods(t, "app=moving")
	lost := pods[0]
	node := lost.Spec.NodeName
	was := containers([]corev1.Pod{lost})[lost.Name].pid(t, k.cluster)
	k.cluster.wire(t, node, false)
	k.waitNode(t, node, corev1.ConditionUnknown)
	eventually(t, "its endpoints are not ready", func() (bool, string) {
		out := k.run(t, "get", "endpointslices", "-l", "kubernetes.io/service-name=moving", "-o", `jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.nodeName} {end}`)
		return !strings.Contains(out, node), out
	})
	eventually(t, "its pods are replaced elsewhere", func() (bool, string) {
		n := 0
		for _, p := range k.pods(t, "app=moving") {
			if isReady(&p) && p.Spec.NodeName != node {
				n++
			}
		}
		return n == 3, k.run(t, "get", "pods", "-o", "wide")
	})
	if err := syscall.Kill(was, 0); err != nil {
		t.Errorf("a container of the node that is cut off: %v", err)
	}
	k.cluster.wire(t, node, true)
	k.waitNode(t, node, corev1.ConditionTrue)
	eventually(t, "the returned node has ended the pods that moved", func() (bool, string) {
		pods := k.pods(t, "app=moving")
		return len(pods) == 3 && syscall.Kill(was, 0) != nil, k.run(t, "get", "pods", "-o", "wide")
	})
	// What runs there again is reached as before.
	k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
	all := k.pods(t, "app=web")
	reachesAll(t, k, all[0].Name, "http://web/", all)
	k.run(t, "delete", "deployment", "moving")
}

// process finds the agent of a node.
func (c *cluster) agent(t *testing.T, node string) int {
	t.Helper()
	found := 0
	eachProcess(t, func(pid int, args []string) {
		if len(args) > 3 && args[1] == "node" && args[2] == "run" && strings.Contains(args[3], "/"+node+"/") && strings.HasPrefix(args[3], c.dir()) {
			found = pid
		}
	})
	if found == 0 {
		t.Fatalf("node %s has no process", node)
	}
	return found
}

// stuck is a StatefulSet: its pod is not replaced while it might still run.
const stuck = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stuck}
spec:
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
      - {name: main, image: ` + helloV1 + `}
`

func outOfService(t *testing.T, k *kubectl) {
	k.apply(t, stuck)
	pod := k.waitPod(t, "stuck-0", "is ready", isReady)
	node := pod.Spec.NodeName
	was := containers([]corev1.Pod{*pod})["stuck-0"].pid(t, k.cluster)
	agent := k.cluster.agent(t, node)
	if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(agent, syscall.SIGCONT) }()
	k.waitNode(t, node, corev1.ConditionUnknown)
	k.waitPod(t, "stuck-0", "is being deleted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	k.run(t, "taint", "node", node, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
	now := k.waitPod(t, "stuck-0", "runs elsewhere", func(p *corev1.Pod) bool { return p.UID != pod.UID && isReady(p) })
	if now.Spec.NodeName == node {
		t.Errorf("it runs on %s, which is out of service", node)
	}
	if err := syscall.Kill(agent, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	k.run(t, "taint", "node", node, "node.kubernetes.io/out-of-service-")
	k.waitNode(t, node, corev1.ConditionTrue)
	eventually(t, "the returned agent has ended the pod that moved", func() (bool, string) {
		return syscall.Kill(was, 0) != nil, k.run(t, "get", "pods", "-o", "wide")
	})
	// An agent that is killed is started again and disturbs no pod.
	k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
	before := containers(k.pods(t, "app=web"))
	if err := syscall.Kill(agent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is started again", func() (bool, string) {
		found := 0
		eachProcess(t, func(pid int, args []string) {
			if len(args) > 3 && args[1] == "node" && strings.Contains(args[3], "/"+node+"/") {
				found = pid
			}
		})
		return found != 0 && found != agent, fmt.Sprint(found)
	})
	k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
	if now := containers(k.pods(t, "app=web")); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("containers: got %v, want %v", now, before)
	}
	k.run(t, "delete", "statefulset", "stuck")
}

func killed(t *testing.T, k *kubectl, flags []string) {
	before := containers(k.pods(t, "app=web"))
	k.cluster.up.signal(t, syscall.SIGKILL)
	k.cluster.start(t, flags...)
	for i := range 3 {
		k.waitNode(t, k.cluster.node(i), corev1.ConditionTrue)
	}
	k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
	if now := containers(k.pods(t, "app=web")); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("containers: got %v, want %v", now, before)
	}
	pods := k.pods(t, "app=web")
	for _, from := range pods {
		reachesAll(t, k, from.Name, "http://web/", pods)
	}
}

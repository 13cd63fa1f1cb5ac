package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// agentFlags: the machines share a kernel, and with it the cgroups.
func (m *machine) agentFlags() []string {
	return []string{"--cgroup-root", "skiff-agents-" + m.name, "--node-lease-renew-interval", "1s"}
}

// TestAgents has machines join a server with the command that it prints, and run
// pods; then one is drained, deleted, joined again, and loses its power.
func TestAgents(t *testing.T) {
	inside(t)
	c := &cluster{profile: "agents"}
	serve(t, c)
	t.Cleanup(func() {
		c.up.signal(t, os.Interrupt)
		if err := os.RemoveAll(c.dir()); err != nil {
			t.Error(err)
		}
	})
	makeLAN(t)
	machines := []*machine{newMachine(t, "alpha", 11), newMachine(t, "beta", 12)}
	k := newNamespace(t, c)
	join := c.skiff(t, "token", "create", "--print-join-command")
	agents := map[string]*process{}
	for _, m := range machines {
		agents[m.name] = m.skiff(t, join, m.agentFlags()...)
	}
	t.Cleanup(func() {
		for _, m := range machines {
			if t.Failed() {
				t.Logf("agent on %s said:\n%s", m.name, agents[m.name].out)
			}
			agents[m.name].signal(t, os.Interrupt)
			m.leave(t)
		}
	})
	for _, m := range machines {
		agents[m.name].says(t, "Node "+m.name+" is part of the cluster.")
		k.waitNode(t, m.name, corev1.ConditionTrue)
		m.run(t, "image", "load", "--data-dir", "/var/lib/skiff-agent", filepath.Join(binDir, "images/hello-v1.tar"))
	}
	t.Run("certificates are signed by request", func(t *testing.T) { requested(t, k, machines) })
	t.Run("traffic between nodes", func(t *testing.T) { nodesTalk(t, k) })
	t.Run("the API server reaches services", func(t *testing.T) { proxied(t, k) })
	t.Run("a killed agent disturbs no pod", func(t *testing.T) {
		m := machines[1]
		before := containers(k.pods(t, "app=web"))
		agents[m.name].signal(t, syscall.SIGKILL)
		agents[m.name] = m.skiff(t, join, m.agentFlags()...)
		agents[m.name].says(t, "is part of the cluster.")
		k.waitNode(t, m.name, corev1.ConditionTrue)
		k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
		if now := containers(k.pods(t, "app=web")); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("containers: got %v, want %v", now, before)
		}
	})
	t.Run("a node is drained, deleted and joins again", func(t *testing.T) {
		m := machines[0]
		k.drained(t, m.name)
		lost := k.pods(t, "app=web")
		if lost[0].Spec.NodeName != m.name {
			lost[0] = lost[1]
		}
		was := containers(lost)[lost[0].Name].pid(t, c)
		k.run(t, "delete", "node", m.name)
		agents[m.name].signal(t, os.Interrupt)
		// Without a token: its certificate is good.
		agents[m.name] = m.skiff(t, join[:strings.Index(join, "--token")], m.agentFlags()...)
		agents[m.name].says(t, "is part of the cluster.")
		k.waitNode(t, m.name, corev1.ConditionTrue)
		// It has other addresses for pods now: what ran there is started again.
		eventually(t, "its pod is started again, with an address of the node's", func() (bool, string) {
			n, err := k.client(t).CoreV1().Nodes().Get(context.Background(), m.name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			for _, p := range k.pods(t, "app=web") {
				if _, of, err := net.ParseCIDR(n.Spec.PodCIDR); p.Spec.NodeName == m.name && (err != nil || !of.Contains(net.ParseIP(p.Status.PodIP)) || !isReady(&p)) {
					return false, fmt.Sprint(n.Spec.PodCIDR, err, status(&p))
				}
			}
			return syscall.Kill(was, 0) != nil, fmt.Sprint(was)
		})
		all := k.pods(t, "app=web")
		for _, from := range all {
			reachesAll(t, k, from.Name, "http://web/", all)
		}
	})
	t.Run("a machine loses its power and comes back", func(t *testing.T) {
		m := machines[1]
		k.apply(t, moving)
		k.run(t, "rollout", "status", "deployment/moving", "--timeout=90s")
		m.powerOff(t)
		k.waitNode(t, m.name, corev1.ConditionUnknown)
		eventually(t, "its pods are replaced elsewhere", func() (bool, string) {
			n := 0
			for _, p := range k.pods(t, "app=moving") {
				if isReady(&p) && p.Spec.NodeName != m.name {
					n++
				}
			}
			return n == 3, k.run(t, "get", "pods", "-o", "wide")
		})
		m.boot(t)
		agents[m.name] = m.skiff(t, join, m.agentFlags()...)
		agents[m.name].says(t, "is part of the cluster.")
		k.waitNode(t, m.name, corev1.ConditionTrue)
		eventually(t, "what moved is gone, what stays is started again", func() (bool, string) {
			pods := k.pods(t, "app=moving")
			web := k.pods(t, "app=web")
			return len(pods) == 3 && len(web) == 2 && isReady(&web[0]) && isReady(&web[1]), k.run(t, "get", "pods", "-o", "wide")
		})
		all := k.pods(t, "app=web")
		for _, from := range all {
			reachesAll(t, k, from.Name, "http://web/", all)
		}
		k.run(t, "delete", "deployment", "moving")
	})
	t.Run("the server is killed and starts again", func(t *testing.T) {
		before := containers(k.pods(t, "app=web"))
		c.up.signal(t, syscall.SIGKILL)
		serve(t, c)
		for _, m := range machines {
			k.waitNode(t, m.name, corev1.ConditionTrue)
		}
		k.run(t, "rollout", "status", "daemonset/web", "--timeout=90s")
		if now := containers(k.pods(t, "app=web")); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("containers: got %v, want %v", now, before)
		}
		contains(t, "logs", k.run(t, "logs", k.pods(t, "app=web")[0].Name), "serving on :8080")
	})
}

// serve runs `skiff server` on the cluster's data until it serves.
func serve(t *testing.T, c *cluster) {
	t.Helper()
	c.up = spawn(t, skiff("server", "--profile", c.profile, "--data-dir", c.dir(), "--kubeconfig", c.kubeconfig(),
		"--secure-port", "8443", "--cluster-cidr", "10.70.0.0/16", "--service-cluster-ip-range", "10.71.0.0/16",
		"--node-monitor-period", "500ms", "--node-monitor-grace-period", "4s"))
	c.up.says(t, "Serving https://")
}

// says waits until a process that goes on has said something.
func (p *process) says(t testing.TB, what string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s says %q", p.cmd.Args[1], what), func() (bool, string) {
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %v\n%s", p.cmd, p.err, p.out)
		default:
		}
		return strings.Contains(p.out.String(), what), p.out.String()
	})
}

// skiff runs a command on the cluster's data and gives what it says.
func (c *cluster) skiff(t testing.TB, args ...string) string {
	t.Helper()
	out, err := skiff(append(args, "--profile", c.profile, "--data-dir", c.dir())...).CombinedOutput()
	if err != nil {
		t.Fatalf("skiff %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// requested checks how the nodes came to their certificates, and that what they
// serve their API with is one of them.
func requested(t *testing.T, k *kubectl, machines []*machine) {
	client := k.client(t).CertificatesV1().CertificateSigningRequests()
	for _, m := range machines {
		eventually(t, m.name+" has asked for two certificates and got them", func() (bool, string) {
			all, err := client.List(context.Background(), metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			by := map[string]string{}
			for _, r := range all.Items {
				if len(r.Status.Certificate) > 0 {
					by[r.Spec.SignerName+" "+r.Spec.Username] = r.Name
				}
			}
			serving := by[certificatesv1.KubeletServingSignerName+" system:node:"+m.name] != ""
			bootstrap := false
			for who := range by {
				bootstrap = bootstrap || strings.HasPrefix(who, certificatesv1.KubeAPIServerClientKubeletSignerName+" system:bootstrap:")
			}
			return serving && bootstrap, fmt.Sprint(by)
		})
		eventually(t, "the server trusts what "+m.name+" serves", func() (bool, string) {
			out, err := k.try("get", "--raw", "/api/v1/nodes/"+m.name+"/proxy/healthz")
			return err == nil && out == "ok", out
		})
	}
}

// proxied asks a service and a pod through the API server, which has no pods on
// its machine.
func proxied(t *testing.T, k *kubectl) {
	pods := k.pods(t, "app=web")
	for _, p := range pods {
		want(t, k.run(t, "get", "--raw", "/api/v1/namespaces/"+k.namespace+"/pods/"+p.Name+":8080/proxy/"), "Hello from "+p.Name+"\n")
	}
	seen := map[string]bool{}
	eventually(t, "every pod of the service has answered", func() (bool, string) {
		out := k.run(t, "get", "--raw", "/api/v1/namespaces/"+k.namespace+"/services/web:80/proxy/")
		seen[out] = true
		return len(seen) == len(pods), fmt.Sprint(seen)
	})
}

// drained has a node drained of a Deployment's pods.
func (k *kubectl) drained(t *testing.T, node string) {
	t.Helper()
	k.run(t, "create", "deployment", "some", "--image="+helloV1, "--replicas=4")
	k.run(t, "rollout", "status", "deployment/some", "--timeout=90s")
	contains(t, "drain", k.run(t, "drain", node, "--ignore-daemonsets", "--timeout=90s"), "node/"+node+" drained")
	k.run(t, "rollout", "status", "deployment/some", "--timeout=90s")
	for _, p := range k.pods(t, "app=some") {
		if p.Spec.NodeName == node && p.DeletionTimestamp == nil {
			t.Errorf("pod %s is on the drained node", p.Name)
		}
	}
	k.run(t, "delete", "deployment", "some")
}

// leave removes the node from its machine, where nothing of it may stay.
func (m *machine) leave(t *testing.T) {
	t.Helper()
	m.run(t, "delete", "--data-dir", "/var/lib/skiff-agent")
	if left, err := os.ReadDir(m.disk); err != nil || len(left) > 0 {
		t.Errorf("left on %s: %v, %v", m.name, left, err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/skiff-agents-" + m.name + "*", "/sys/fs/cgroup/*/skiff-agents-" + m.name + "*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("cgroups are left: %v, %v", left, err)
		}
	}
}

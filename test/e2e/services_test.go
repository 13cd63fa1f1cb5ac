package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestServices sends requests from pods and from the machine to services.
func TestServices(t *testing.T) {
	c := running(t)
	k := newNamespace(t, c)
	k.run(t, "create", "deployment", "back", "--image="+helloV1, "--replicas=3")
	k.run(t, "expose", "deployment", "back", "--port=80", "--target-port=8080")
	k.run(t, "create", "deployment", "front", "--image="+helloV1)
	k.run(t, "rollout", "status", "deployment/back", "--timeout=90s")
	k.run(t, "rollout", "status", "deployment/front", "--timeout=90s")

	t.Run("a pod reaches every pod of a service by its name", func(t *testing.T) {
		for _, name := range []string{"back", "back." + k.namespace, "back." + k.namespace + ".svc.cluster.local"} {
			reachesAll(t, k, "deploy/front", "http://"+name+"/", k.pods(t, "app=back"))
		}
	})
	t.Run("a pod reaches itself through its service", func(t *testing.T) {
		pods := k.pods(t, "app=back")
		reachesAll(t, k, pods[0].Name, "http://back/", pods)
	})
	t.Run("a name that does not exist is not found", func(t *testing.T) {
		contains(t, "wget", k.fails(t, "exec", "deploy/front", "--", "wget", "http://nobody.default.svc.cluster.local./"), "no such host")
	})
	t.Run("a headless service's name has each pod's address", func(t *testing.T) {
		k.run(t, "expose", "deployment", "back", "--name=each", "--cluster-ip=None", "--port=8080")
		eventually(t, "all addresses are answered", func() (bool, string) {
			out, err := k.try("exec", "deploy/front", "--", "nslookup", "each")
			for _, p := range k.pods(t, "app=back") {
				if !strings.Contains(out, p.Status.PodIP) {
					return false, out
				}
			}
			return err == nil, out
		})
	})
	t.Run("a node port is open on the machine's address", func(t *testing.T) {
		k.run(t, "expose", "deployment", "back", "--name=outside", "--type=NodePort", "--port=80", "--target-port=8080")
		url := "http://" + net.JoinHostPort(nodeIP, k.run(t, "get", "service/outside", "-o", "jsonpath={.spec.ports[0].nodePort}"))
		eventually(t, "it answers", func() (bool, string) {
			err := ask(url, "Hello from back-")
			return err == nil, fmt.Sprint(err)
		})
	})
	t.Run("the API is a service too, by name and with the pod's token", func(t *testing.T) {
		out := k.fails(t, "exec", "deploy/front", "--", "wget", "https://kubernetes.default/version")
		contains(t, "wget", out, "certificate signed by unknown authority") // it is reached; wget has no CA
	})
	t.Run("a killed pod takes only its own connections along", func(t *testing.T) { killOne(t, k) })
	t.Run("a service without pods refuses", func(t *testing.T) {
		k.run(t, "scale", "deployment/back", "--replicas=0")
		eventually(t, "it refuses", func() (bool, string) {
			out, err := k.try("exec", "deploy/front", "--", "wget", "http://back/")
			return err != nil && strings.Contains(out, "connection refused"), out
		})
	})
}

// reachesAll asks from a pod until every other has answered.
func reachesAll(t *testing.T, k *kubectl, from, url string, pods []corev1.Pod) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, fmt.Sprintf("%s has been answered by %d pods", url, len(pods)), func() (bool, string) {
		// Ten questions in one exec: the pod is asked, not kubectl.
		out := k.run(t, "exec", from, "--", "sh", "-c", strings.Repeat("wget "+url+"; ", 9)+"wget "+url)
		for line := range strings.Lines(out) {
			name, ok := strings.CutPrefix(strings.TrimSpace(line), "Hello from ")
			if !ok {
				t.Fatalf("%s answers %q", url, line)
			}
			seen[name] = true
		}
		return len(seen) == len(pods), fmt.Sprint(seen)
	})
	for _, p := range pods {
		if !seen[p.Name] {
			t.Errorf("pod %s has not answered, but %v", p.Name, seen)
		}
	}
}

// connection is one TCP connection to a service, which is used again and again.
type connection struct {
	client http.Client
	pod    string
	reused bool
}

func (c *connection) ask(ctx context.Context, url string) error {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { c.reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	c.pod = strings.TrimSpace(strings.TrimPrefix(string(body), "Hello from "))
	return nil
}

func killOne(t *testing.T, k *kubectl) {
	url := "http://" + k.run(t, "get", "service/back", "-o", "jsonpath={.spec.clusterIP}")
	var open []*connection
	count := map[string]int{}
	eventually(t, "there are connections to two pods", func() (bool, string) {
		c := &connection{client: http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConns: 1}}}
		if err := c.ask(t.Context(), url); err != nil {
			return false, err.Error()
		}
		t.Cleanup(c.client.CloseIdleConnections)
		open = append(open, c)
		count[c.pod]++
		return len(count) >= 2 && len(open) >= 12, fmt.Sprint(count)
	})
	victim := open[0].pod
	k.run(t, "delete", "pod", victim, "--grace-period=0", "--force")
	for _, c := range open {
		if c.pod == victim {
			continue
		}
		before := c.pod
		if err := c.ask(t.Context(), url); err != nil || !c.reused || c.pod != before {
			t.Errorf("the connection to %s: got %v, reused %t, answered by %s", before, err, c.reused, c.pod)
		}
	}
	// New connections go to the pods that are left, once the change is carried.
	eventually(t, "no new connection fails", func() (bool, string) {
		for range 20 {
			c := &connection{client: http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
			if err := c.ask(t.Context(), url); err != nil || c.pod == victim {
				return false, fmt.Sprintf("%s: %v", c.pod, err)
			}
		}
		return true, ""
	})
}

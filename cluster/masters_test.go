package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// master is where one is: what stays when its process or its disk does not.
type master struct{ dir, peer string }

func newMaster(t *testing.T) master { return master{t.TempDir(), freeAddress(t)} }

func (m master) config(join *cluster.Join) cluster.Config {
	c := cluster.Config{DataDir: m.dir, Listen: "0.0.0.0:0", Join: join, Without: []cluster.Room{cluster.Nodes}, ApproveServing: true}
	c.APIServer.AdvertiseAddress = cluster.AdvertiseAddress(net.IPv4zero, "")
	c.APIServer.Authentication.BootstrapTokens = true
	c.APIServer.Etcd = etcd.Config{NoSync: true, Tick: 50 * time.Millisecond, Election: 500 * time.Millisecond, Peers: &etcd.Peers{Listen: m.peer, Advertise: m.peer}}
	c.Controllers.LeaderElect, c.Scheduler.LeaderElect = true, true
	return c
}

func (m master) start(t *testing.T, join *cluster.Join) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, m.config(join))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func clientOf(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func addressOf(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	a, err := c.Access()
	if err != nil {
		t.Fatal(err)
	}
	return a.Server
}

func tokenOf(t *testing.T, c *cluster.Cluster, forMaster bool) cluster.Token {
	t.Helper()
	tk, err := cluster.NewToken(t.Context(), clientOf(t, c), c.CA(), forMaster, time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func joinOf(t *testing.T, c *cluster.Cluster) *cluster.Join {
	t.Helper()
	return &cluster.Join{Servers: []string{addressOf(t, c)}, Token: tokenOf(t, c, true)}
}

func within(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func keep(t *testing.T, k kubernetes.Interface, name string) {
	t.Helper()
	within(t, func() error {
		_, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
}

// leased tells unless those who lead hold their Leases for so many seconds.
func leased(t *testing.T, c *cluster.Cluster, seconds int32) error {
	t.Helper()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		l, err := clientOf(t, c).CoordinationV1().Leases("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := l.Spec.LeaseDurationSeconds; got == nil || *got != seconds {
			return fmt.Errorf("lease %s is for %v s, want %d", name, ptr.Deref(got, 0), seconds)
		}
	}
	return nil
}

func TestAMasterJoinsDiesAndComesBack(t *testing.T) {
	places := []master{newMaster(t), newMaster(t), newMaster(t)}
	first := places[0].start(t, nil)
	keep(t, clientOf(t, first), "before")
	within(t, func() error { return leased(t, first, 15) }) // as on Kubernetes, while nobody else could act
	second := places[1].start(t, joinOf(t, first))
	within(t, func() error { return leased(t, first, 2) })
	third := places[2].start(t, joinOf(t, second))
	for _, c := range []*cluster.Cluster{second, third} {
		if _, err := clientOf(t, c).CoreV1().ConfigMaps("default").Get(t.Context(), "before", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		if string(c.CA()) != string(first.CA()) {
			t.Error("a master has another CA")
		}
	}
	serving := func(k kubernetes.Interface, want int) error {
		list, err := k.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
		if err != nil {
			return err
		}
		n := 0
		for _, s := range list.Items {
			n += len(s.Endpoints)
		}
		if n != want {
			return fmt.Errorf("%d endpoints of %d masters", n, want)
		}
		return nil
	}
	if !cluster.AdvertiseAddress(net.IPv4zero, "").IsLoopback() {
		within(t, func() error { return serving(clientOf(t, third), 3) })
	}

	// The one that others came to goes: its controllers' lead is given up, and
	// it leaves the endpoints.
	first.Stop()
	keep(t, clientOf(t, second), "without-the-first")
	within(t, func() error {
		_, err := clientOf(t, third).CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	if _, err := clientOf(t, second).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, func() error { // somebody else's controllers act
		_, err := clientOf(t, third).CoreV1().ServiceAccounts("later").Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	if !cluster.AdvertiseAddress(net.IPv4zero, "").IsLoopback() {
		within(t, func() error { return serving(clientOf(t, third), 2) })
	}

	// Its disk is lost: it joins again at its place.
	if err := os.RemoveAll(filepath.Join(places[0].dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	first = places[0].start(t, joinOf(t, third))
	if _, err := clientOf(t, first).CoreV1().ConfigMaps("default").Get(t.Context(), "without-the-first", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

	// One that has its data needs no token.
	second.Stop()
	second = places[1].start(t, &cluster.Join{Servers: []string{"https://127.0.0.1:1"}})
	keep(t, clientOf(t, second), "again")
}

func TestWhoMayNotJoin(t *testing.T) {
	c := newMaster(t).start(t, nil)
	good := tokenOf(t, c, true)
	otherCA, badSecret := good, good
	otherCA.Hash = strings.Repeat("0", 64)
	badSecret.Secret = "0000000000000000"
	for _, tt := range []struct {
		name   string
		token  cluster.Token
		change func(*cluster.Config)
		want   string
	}{
		{"a master with a token of another cluster", otherCA, nil, "is not of the cluster that the token is for"},
		{"a master with a token that is wrong", badSecret, nil, "the token is not valid or has expired"},
		{"a master with a worker's token", tokenOf(t, c, false), nil, "skiff token create --master"},
		{"a master with other networks", good, func(c *cluster.Config) { c.ClusterCIDR = "10.1.0.0/16" }, "--cluster-cidr is 10.1.0.0/16 here and 10.244.0.0/16 in the cluster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMaster(t)
			config := m.config(&cluster.Join{Servers: []string{addressOf(t, c)}, Token: tt.token})
			if tt.change != nil {
				tt.change(&config)
			}
			_, err := cluster.Start(t.Context(), config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
				t.Errorf("%v was left, %v", left, err)
			}
		})
	}
	_, err := cluster.StartAgent(t.Context(), cluster.AgentConfig{
		Servers: []string{addressOf(t, c)}, Token: tokenOf(t, c, false), DataDir: t.TempDir(), Node: simulatedNode("new", "v1.99.0"),
	})
	if err == nil || !strings.Contains(err.Error(), "a node agent of version v1.99.0 can't join a cluster of version") {
		t.Errorf("an agent that is too new: %v", err)
	}
}

func simulatedNode(name, version string) cluster.Node {
	n := cluster.Node{Simulated: true}
	n.NodeName, n.Version, n.NodeIP, n.Port, n.HealthPort = name, version, "127.0.0.1", -1, -2
	return n
}

func nodeReady(ctx context.Context, k kubernetes.Interface, name string, since time.Time) error {
	l, err := k.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if l.Spec.RenewTime == nil || !l.Spec.RenewTime.After(since) {
		return errors.New("the node has not been heard of since")
	}
	return nil
}

func TestAnAgentGoesFromMasterToMaster(t *testing.T) {
	places := []master{newMaster(t), newMaster(t), newMaster(t)}
	first := places[0].start(t, nil)
	second := places[1].start(t, joinOf(t, first))
	third := places[2].start(t, joinOf(t, first))
	dir := t.TempDir()
	start := func(tk cluster.Token) *cluster.Agent {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		node := simulatedNode("w1", "")
		node.LeasePeriod = 500 * time.Millisecond
		a, err := cluster.StartAgent(ctx, cluster.AgentConfig{
			Servers: []string{addressOf(t, first), addressOf(t, second), addressOf(t, third)}, Token: tk, DataDir: dir, Node: node,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Stop)
		return a
	}
	a := start(tokenOf(t, first, false))
	k := clientOf(t, third)
	within(t, func() error { // it serves its API, which a master has approved
		raw, err := k.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/w1/proxy/healthz").DoRaw(t.Context())
		if err == nil && string(raw) != "ok" {
			err = fmt.Errorf("healthz: %s", raw)
		}
		return err
	})
	first.Stop()
	died := time.Now()
	within(t, func() error { return nodeReady(t.Context(), k, "w1", died) })
	_, err := k.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	within(t, func() error {
		p, err := k.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
		if err == nil && p.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("the pod is %s", p.Status.Phase)
		}
		return err
	})

	// It is deleted, and comes back without a token.
	a.Stop()
	if err := k.CoreV1().Nodes().Delete(t.Context(), "w1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	start(cluster.Token{})
	within(t, func() error { return nodeReady(t.Context(), k, "w1", back) })
	if _, err := k.CoreV1().Nodes().Get(t.Context(), "w1", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestATokenIsHonouredFromTheMomentItIsMade(t *testing.T) {
	c := newMaster(t).start(t, nil)
	k := clientOf(t, c)
	for _, forMaster := range []bool{true, false} {
		tk := tokenOf(t, c, forMaster)
		known, err := k.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: tk.Bearer()},
		}, metav1.CreateOptions{})
		if err != nil || !known.Status.Authenticated {
			t.Fatalf("for a master %t: %v, %+v", forMaster, err, known)
		}
		verb, path := "get", cluster.ClusterPath
		if forMaster {
			verb, path = "post", cluster.MastersPath
		}
		may, err := k.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: known.Status.User.Username, Groups: known.Status.User.Groups,
				NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
			},
		}, metav1.CreateOptions{})
		if err != nil || !may.Status.Allowed {
			t.Errorf("for a master %t: %v, %+v", forMaster, err, may)
		}
	}
}

func TestPathsNeedRights(t *testing.T) {
	c := newMaster(t).start(t, nil)
	k, err := kubernetes.NewForConfig(c.As("jane"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cluster.MastersPath, cluster.SnapshotPath, cluster.ClusterPath, cluster.DefragmentPath} {
		code := 0
		k.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).StatusCode(&code)
		if code != http.StatusForbidden {
			t.Errorf("%s answers jane %d", path, code)
		}
	}
	raw, err := clientOf(t, c).Discovery().RESTClient().Post().AbsPath(cluster.DefragmentPath).DoRaw(t.Context())
	if err != nil {
		t.Errorf("%v: %s", err, raw)
	}
}

package apiserver_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func onDisk(dir string) apiserver.Config {
	return apiserver.Config{Etcd: etcd.Config{Dir: dir, NoSync: true, Tick: 10 * time.Millisecond}}
}

func TestARestartWritesNothingAndWatchesGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, onDisk(dir))
	k := clientset(t, first.admin())
	made := many(t, k, 3)
	// What is written in the background, the last of each kind.
	eventually(t, func() error {
		if _, err := k.FlowcontrolV1().FlowSchemas().Get(t.Context(), "global-default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := k.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
		return err
	})
	before, err := first.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, onDisk(dir))
	after, err := second.Revision(t.Context())
	if err != nil || after != before {
		t.Errorf("%v, revision %d became %d, by a write of %s", err, before, after, second.Written(t.Context(), before))
	}
	k = clientset(t, second.admin())
	l, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || names(l) != "m00 m01 m02" || l.Items[0].UID != made[0].UID {
		t.Fatalf("%v %s", err, names(l))
	}
	w := watchMaps(t, k, metav1.ListOptions{ResourceVersion: l.ResourceVersion})
	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("new")})
	w.expect("ADDED new")
}

func TestADirectoryHasOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, onDisk(dir))
	_, err := apiserver.New(t.Context(), onDisk(dir))
	if err == nil || !strings.Contains(err.Error(), "another process is using it") {
		t.Errorf("%v", err)
	}
}

func TestDamagedDataIsSaidToBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := start(t, onDisk(dir)).stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "member", "snap", "db")
	for name, data := range map[string][]byte{"noise": bytes.Repeat([]byte("noise"), 10000), "zeros": make([]byte, 64<<10), "a few bytes": []byte("x")} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := apiserver.New(t.Context(), onDisk(dir))
			if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
		})
	}
	if os.Geteuid() != 0 {
		t.Run("no rights", func(t *testing.T) {
			if _, err := apiserver.New(t.Context(), onDisk("/proc/none")); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestTheEndOfEtcdEndsTheServer(t *testing.T) {
	t.Parallel()
	s := start(t, apiserver.Config{Etcd: etcd.Config{Dir: t.TempDir(), NoSync: true, Tick: 10 * time.Millisecond}})
	ended := make(chan error, 1)
	s.StopEtcd()
	go func() { ended <- s.wait() }()
	select {
	case err := <-ended:
		if err == nil || err.Error() != "etcd stopped" {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Fatal("still running")
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	once := func(listen string) {
		c, err := cluster.Start(context.Background(), cluster.Config{Listen: listen, Without: onlyAPI})
		if err != nil {
			t.Fatal(err)
		}
		if listen == "" {
			if got := rawTo(t, c.RESTConfig()).get(maps); got.code != 200 {
				t.Errorf("%d", got.code)
			}
			c.Stop()
			return
		}
		a, err := c.Access()
		if err != nil {
			t.Fatal(err)
		}
		r := rawTo(t, a.RESTConfig())
		if got := r.get(maps); got.code != 200 {
			t.Fatalf("%d", got.code)
		}
		r.http.CloseIdleConnections()
		c.Stop()
		l, err := net.Listen("tcp", strings.TrimPrefix(a.Server, "https://"))
		if err != nil {
			t.Errorf("the port is taken: %v", err)
			return
		}
		_ = l.Close()
	}
	once("127.0.0.1:0") // what a process starts once, it keeps
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	const rounds = 20
	for i := range rounds {
		// An end with connections takes a second: clients are told to leave.
		once([]string{"127.0.0.1:0", "", "", "", ""}[i%5])
	}
	eventually(t, func() error {
		// Some leeway, less than one for each round.
		if n := runtime.NumGoroutine(); n > goroutines+rounds/2 {
			return fmt.Errorf("%d goroutines became %d:\n%s", goroutines, n, stacks())
		}
		if n := openFiles(t); n > files+rounds/2 {
			return fmt.Errorf("%d files became %d", files, n)
		}
		return nil
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	return len(fds)
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestManyServersInOneProcess(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			c := clustertest.APIServer(t)
			k := clientset(t, c.RESTConfig())
			name := fmt.Sprint("only-", i)
			if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named(name)}, metav1.CreateOptions{}); err != nil {
				t.Error(err)
				return
			}
			l, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
			if err != nil || names(l) != name {
				t.Errorf("%v %s", err, names(l))
			}
		})
	}
	group.Wait()
}

func TestConfigsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*apiserver.Config)
		err    string
	}{
		{"a range of services that is none", func(c *apiserver.Config) { c.ServiceClusterIPRange = "x" }, `service-cluster-ip-range "x"`},
		{"a range of ports that is none", func(c *apiserver.Config) { c.ServiceNodePortRange = "x" }, `service-node-port-range "x"`},
		{"a token file that is not there", func(c *apiserver.Config) { c.Authentication.TokenFile = "/none" }, "--token-auth-file /none"},
		{"an admission plugin that there is not", func(c *apiserver.Config) { c.EnableAdmissionPlugins = []string{"None"} }, `enable-admission-plugins plugin "None" is unknown`},
		{"a client CA that is none", func(c *apiserver.Config) { c.ClientCAPEM = []byte("x") }, "client CA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := onDisk(t.TempDir())
			c.change(&cfg)
			if _, err := apiserver.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v", err)
			}
		})
	}
}

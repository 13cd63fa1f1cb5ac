package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// candidate runs an instance under a name until the returned function.
func candidate(t *testing.T, api *clustertest.Cluster, name string, cut *atomic.Bool, changes ...func(*controllers.Config)) (*controllers.Controllers, func()) {
	t.Helper()
	cfg := api.RESTConfig()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if cut.Load() {
				return nil, errors.New("the network is cut")
			}
			return next.RoundTrip(req)
		})
	})
	room := controllers.Config{
		REST: cfg, LeaderElect: true, Identity: name, LeaseNamespace: "default", Controllers: []string{"replicaset-controller"},
	}
	for _, change := range changes {
		change(&room)
	}
	return run(t, room)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// leads waits until the Lease names an instance.
func leads(t *testing.T, c client.Client, name string) {
	t.Helper()
	eventually(t, func() string {
		lease := &coordinationv1.Lease{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kube-controller-manager"}, lease); err != nil {
			return err.Error()
		}
		if holder := lease.Spec.HolderIdentity; holder == nil || *holder != name {
			return fmt.Sprintf("%v leads, not %s", holder, name)
		}
		return ""
	})
}

func TestAStandbyTakesOver(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	allowPods(t, c)
	var cutA, cutB atomic.Bool
	_, stopA := candidate(t, api, "a", &cutA)
	leads(t, c, "a")
	roomB, stopB := candidate(t, api, "b", &cutB)
	<-roomB.Ready() // though it does not lead

	first := replicaSet("first", 2)
	create(t, c, first)
	hasStatus(t, c, first, "2/0/0")

	stopA() // gives the lead up
	leads(t, c, "b")
	second := replicaSet("second", 2)
	create(t, c, second)
	hasStatus(t, c, second, "2/0/0")

	cutA.Store(false)
	_, stopC := candidate(t, api, "c", &cutA)
	cutB.Store(true) // as if b were dead
	leads(t, c, "c")
	third := replicaSet("third", 2)
	create(t, c, third)
	hasStatus(t, c, third, "2/0/0")

	cutB.Store(false) // b is well again: it stands by, and leads when it can
	stopC()
	leads(t, c, "b")
	fourth := replicaSet("fourth", 2)
	create(t, c, fourth)
	hasStatus(t, c, fourth, "2/0/0")
	stopB()
	leads(t, c, "") // nobody
}

// With a lease of an hour anybody else would have to wait that long.
func TestAnInstanceThatComesBackLeadsAtOnce(t *testing.T) {
	api := clustertest.APIServer(t)
	var cut atomic.Bool
	hour := func(cfg *controllers.Config) { cfg.LeaseDuration = time.Hour }
	candidate(t, api, "same", &cut, hour)
	leads(t, api.Client(), "same")
	cut.Store(true)
	var fresh atomic.Bool
	candidate(t, api, "same", &fresh, hour) // is ready when it leads
}

func TestHealthAndMetrics(t *testing.T) {
	api := clustertest.APIServer(t)
	c, address := api.Client(), freeAddress(t)
	run(t, controllers.Config{REST: api.RESTConfig(), HealthBindAddress: address, MetricsBindAddress: address, Controllers: []string{"job-controller", "cronjob-controller", "node-lifecycle-controller"}})
	read := func(path string) string {
		t.Helper()
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d %.100q, %v", path, response.StatusCode, body, err)
		}
		return string(body)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if got := read(path); !strings.Contains(got, "ok") {
			t.Errorf("%s: %q", path, got)
		}
	}
	allowPods(t, c)
	job := newJob("measured", 1, 1)
	create(t, c, job)
	jobStatus(t, c, job, "1/0/0")
	end(t, c, &podsOfJob(t, c, job)[0], corev1.PodSucceeded, 0)
	jobStatus(t, c, job, "0/1/0 SuccessCriteriaMet Complete")
	// Stable ones, by upstream's names, and those of the library.
	for _, want := range []string{
		`job_controller_job_syncs_total{action="pods_created",completion_mode="NonIndexed",result="success"} `,
		`job_controller_job_sync_duration_seconds_bucket{action="pods_created",completion_mode="NonIndexed",result="success",le="0.004"} `,
		`job_controller_job_pods_finished_total{completion_mode="NonIndexed",result="succeeded"} `,
		`job_controller_jobs_finished_total{completion_mode="NonIndexed",reason="CompletionsReached",result="succeeded"} `,
		`cronjob_controller_job_creation_skew_duration_seconds_count `,
		`workqueue_depth{name="job-controller"} `, `workqueue_adds_total{name="job-controller"} `,
		`workqueue_queue_duration_seconds_count{name="job-controller"} `, `workqueue_work_duration_seconds_count{name="job-controller"} `,
		`workqueue_unfinished_work_seconds{`, `workqueue_longest_running_processor_seconds{`, `workqueue_retries_total{`,
		`controller_runtime_reconcile_total{controller="job-controller",result="success"} `, `rest_client_requests_total{`, `process_cpu_seconds_total `, `go_goroutines `,
	} {
		eventually(t, func() string {
			if text := read("/metrics"); !strings.Contains(text, "\n"+want) {
				return "no metric " + want
			}
			return ""
		})
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	api := clustertest.APIServer(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		cfg  controllers.Config
		want string
	}{
		{"no API server", controllers.Config{}, "REST is needed"},
		{"an unknown controller", controllers.Config{REST: api.RESTConfig(), Controllers: []string{"nonsense"}}, `"nonsense" is not in the list of known controllers`},
		{"a lease shorter than its renewal", controllers.Config{REST: api.RESTConfig(), LeaderElect: true, LeaseDuration: time.Second}, "leaseDuration must be greater than renewDeadline"},
		{"an address in use", controllers.Config{REST: api.RESTConfig(), HealthBindAddress: taken.Addr().String()}, "address already in use"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			room, err := controllers.New(test.cfg)
			if err == nil {
				err = room.Run(ctx)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

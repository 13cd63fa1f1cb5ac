package apiserver_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// The routes of a resource are made at its first request; what is wrong with
// that one is answered as it is later.
func TestAResourcesFirstRequestIsAnsweredAsLaterOnes(t *testing.T) {
	t.Parallel()
	k := clustertest.With(t, cluster.Config{Without: onlyAPI})
	api := rawTo(t, k.RESTConfig())
	for path, code := range map[string]int{
		"/apis/batch/v1/cronjobs":                                   http.StatusOK,
		"/apis/batch/v1/namespaces/default/jobs/none":               http.StatusNotFound,
		"/apis/apps/v1/namespaces/default/statefulsets/a/nothing":   http.StatusNotFound,
		"/apis/apps/v1/namespaces/default/daemonsets/a/status/more": http.StatusNotFound,
		"/apis/apps/v1/nothing":                                     http.StatusNotFound,
		"/apis/policy/v1/watch/poddisruptionbudgets/":               http.StatusOK,
		"/apis/storage.k8s.io/v1":                                   http.StatusOK,
	} {
		t.Run(path, func(t *testing.T) {
			if path == "/apis/policy/v1/watch/poddisruptionbudgets/" {
				path += "?timeoutSeconds=1"
			}
			first, second := api.get(path), api.get(path)
			if first.code != code || second.code != code {
				t.Errorf("got %d, then %d, want %d: %s", first.code, second.code, code, first.body)
			}
		})
	}
}

func TestVersionsAreEquivalentBeforeAnybodyAsksForThem(t *testing.T) {
	t.Parallel()
	s := start(t, onDisk(t.TempDir()))
	v1 := schema.GroupVersionResource{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"}
	v2 := schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	clientset(t, s.admin()) // has asked for neither
	for _, subresource := range []string{"", "status"} {
		all := s.Equivalent(v1, subresource)
		if len(all) != 2 || !slices.Contains(all, v1) || !slices.Contains(all, v2) {
			t.Errorf("%q: got %s", subresource, fmt.Sprint(all))
		}
	}
}

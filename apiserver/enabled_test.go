package apiserver_test

import (
	"strings"
	"testing"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestRuntimeConfig(t *testing.T) {
	const batch, crons, jobs, claims = "/apis/batch/v1", "/apis/batch/v1/cronjobs", "/apis/batch/v1/jobs", "/apis/resource.k8s.io/v1beta1/resourceclaims"
	const groups = "/apis/scheduling.k8s.io/v1beta1/podgroups"
	for _, c := range []struct {
		name   string
		config map[string]string
		codes  map[string]int
	}{
		{"stable versions are served and betas are not", nil, map[string]int{batch: 200, jobs: 200, claims: 404, groups: 404, "/apis/lifecycle.k8s.io": 404}},
		{"a version is switched off", map[string]string{"batch/v1": "false"}, map[string]int{batch: 404, jobs: 404, "/apis/apps/v1": 200}},
		{"a resource is switched off", map[string]string{"batch/v1/cronjobs": "false"}, map[string]int{batch: 200, jobs: 200, crons: 404}},
		{"a beta is switched on", map[string]string{"resource.k8s.io/v1beta1": "true"}, map[string]int{claims: 200, "/apis/resource.k8s.io/v1beta2": 404}},
		{"an alpha is switched on without its beta", map[string]string{"scheduling.k8s.io/v1alpha3": "true"}, map[string]int{"/apis/scheduling.k8s.io/v1alpha3/podgroups": 200, groups: 404}},
		{"a group of alphas is switched on", map[string]string{"lifecycle.k8s.io/v1alpha1": "true"}, map[string]int{"/apis/lifecycle.k8s.io/v1alpha1/evictions": 200, groups: 404}},
		{"the core group has its old names", map[string]string{"api/v1": "true", "api/v1/podtemplates": "false", "api/legacy": "true"}, map[string]int{"/api/v1/pods": 200, "/api/v1/podtemplates": 404}},
		{"all betas are switched on", map[string]string{"api/beta": "true"}, map[string]int{claims: 200, "/apis/resource.k8s.io/v1beta2": 200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := clustertest.With(t, cluster.Config{Without: onlyAPI, APIServer: apiserver.Config{RuntimeConfig: c.config}})
			api := rawTo(t, k.RESTConfig())
			groups := string(api.get("/apis", "Accept", aggregatedDiscovery).body)
			for path, code := range c.codes {
				if a := api.get(path); a.code != code {
					t.Errorf("%s: %d %s", path, a.code, a.body)
				}
			}
			if on := c.codes[crons] != 404 && c.codes[batch] != 404; strings.Contains(groups, `"cronjobs"`) != on {
				t.Errorf("cronjobs are in discovery: %v", !on)
			}
		})
	}
}

func TestRuntimeConfigIsChecked(t *testing.T) {
	for key, want := range map[string]string{
		"api/all=false":                   "--runtime-config: invalid runtime-config with only api/all=false",
		"nonsense/v1=true":                "--runtime-config: unknown api groups nonsense/v1",
		"batch=true":                      "--runtime-config: runtime-config invalid key batch",
		"batch/v9=true":                   "--runtime-config: group version batch/v9 that has not been registered",
		"batch/v1=maybe":                  "--runtime-config: invalid value of batch/v1: maybe, err: ",
		"api/beta=maybe":                  "--runtime-config: invalid value api/beta=maybe",
		"apiregistration.k8s.io/v1=false": "API group/version apiregistration.k8s.io/v1 must be enabled",
	} {
		name, value, _ := strings.Cut(key, "=")
		_, err := apiserver.New(t.Context(), apiserver.Config{
			Etcd: etcd.Config{Dir: t.TempDir(), NoSync: true}, RuntimeConfig: map[string]string{name: value},
		})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

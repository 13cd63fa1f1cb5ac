package apiserver_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestMetricsHaveUpstreamsNames looks for what dashboards and alerts read.
func TestMetricsHaveUpstreamsNames(t *testing.T) {
	c := socket(t, nil)
	account(t, clientset(t, c.RESTConfig()), "default")
	api := rawTo(t, access(t, c))
	if a := api.do("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`); a.code != 201 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if a := api.get("/api/v1/namespaces"); a.code != 200 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	eventually(t, func() error {
		text := string(api.get("/metrics").body)
		for _, name := range []string{
			"apiserver_request_total", "apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds", "apiserver_response_sizes",
			"apiserver_current_inflight_requests", "apiserver_longrunning_requests", "apiserver_watch_events_total",
			"apiserver_admission_step_admission_duration_seconds", "apiserver_admission_controller_admission_duration_seconds", "apiserver_audit_event_total", "apiserver_storage_list_total",
			"apiserver_resource_objects", "apiserver_storage_objects", "apiserver_watch_cache_events_dispatched_total", "apiserver_init_events_total",
			"apiserver_flowcontrol_dispatched_requests_total", "apiserver_client_certificate_expiration_seconds",
			"etcd_request_duration_seconds", "etcd_requests_total", "authenticated_user_requests", "authentication_attempts", "authentication_duration_seconds",
			"authorization_attempts_total", "workqueue_depth", "workqueue_adds_total", "kubernetes_build_info", "kubernetes_feature_enabled",
			"process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines",
		} {
			if !strings.Contains(text, "\n# TYPE "+name+" ") {
				return fmt.Errorf("no metric %s", name)
			}
		}
		return nil
	})
	if a := api.get("/metrics/slis"); a.code != 200 {
		t.Errorf("%d %s", a.code, a.body)
	}
}

package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// handler answers everything; all of it needs a right.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /healthz/{check}", s.healthz)
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /runningpods/", s.runningPods)
	mux.HandleFunc("GET /configz", s.configz)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("POST /stats/summary", s.summary)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /metrics/resource", s.resourceMetrics)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	mux.Handle("GET /logs/", s.systemLogs())
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", s.run)
	streams := s.upgraded()
	for _, prefix := range []string{"/exec/", "/attach/", "/portForward/"} {
		mux.Handle("GET "+prefix, streams)
		mux.Handle("POST "+prefix, streams)
	}
	return s.access.guard(mux)
}

func (s *Server) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /healthz/{check}", s.healthz)
	return mux
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Healthy != nil {
		if err := s.cfg.Healthy(); err != nil {
			http.Error(w, fmt.Sprintf("healthz check failed: %v", err), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprint(w, "ok")
}

func (s *Server) pods(w http.ResponseWriter, r *http.Request) {
	writePods(w, r, s.cfg.Backend.Pods())
}

func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	pods, err := s.cfg.Backend.RunningPods(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writePods(w, r, pods)
}

func writePods(w http.ResponseWriter, r *http.Request, pods []*corev1.Pod) {
	list := corev1.PodList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"},
		Items:    make([]corev1.Pod, 0, len(pods)),
	}
	for _, p := range pods {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, r, list)
}

func (s *Server) configz(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, map[string]any{"kubeletconfig": s.cfg.Configz})
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	summary, err := s.cfg.Backend.Summary(r.Context())
	if err != nil {
		http.Error(w, fmt.Sprintf("Internal Error: %v", err), http.StatusInternalServerError)
		return
	}
	if r.FormValue("only_cpu_and_memory") == "true" {
		summary = onlyCPUAndMemory(summary)
	}
	writeJSON(w, r, summary)
}

// onlyCPUAndMemory leaves out what is costly to send and not wanted.
func onlyCPUAndMemory(full *statsv1alpha1.Summary) *statsv1alpha1.Summary {
	out := &statsv1alpha1.Summary{Node: statsv1alpha1.NodeStats{
		NodeName:  full.Node.NodeName,
		StartTime: full.Node.StartTime,
		CPU:       full.Node.CPU,
		Memory:    full.Node.Memory,
	}}
	containers := func(all []statsv1alpha1.ContainerStats) []statsv1alpha1.ContainerStats {
		var some []statsv1alpha1.ContainerStats
		for _, c := range all {
			some = append(some, statsv1alpha1.ContainerStats{Name: c.Name, StartTime: c.StartTime, CPU: c.CPU, Memory: c.Memory})
		}
		return some
	}
	out.Node.SystemContainers = containers(full.Node.SystemContainers)
	for _, p := range full.Pods {
		out.Pods = append(out.Pods, statsv1alpha1.PodStats{
			PodRef: p.PodRef, StartTime: p.StartTime, CPU: p.CPU, Memory: p.Memory, Containers: containers(p.Containers),
		})
	}
	return out
}

func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(data); err != nil {
		klog.FromContext(r.Context()).V(2).Info("Client went away before its answer", "path", r.URL.Path, "reason", err.Error())
	}
}

// podOf finds the pod that a path names, and answers if there is none.
func (s *Server) podOf(w http.ResponseWriter, r *http.Request) (*corev1.Pod, bool) {
	name := r.PathValue("pod")
	pod, ok := s.cfg.Backend.Pod(r.PathValue("namespace"), name)
	if ok && r.PathValue("uid") != "" && r.PathValue("uid") != string(pod.UID) {
		ok = false // Another pod of the same name.
	}
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
	}
	return pod, ok
}

// containerOf finds the running container that a path names, and answers if
// there is none.
func (s *Server) containerOf(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) (string, bool) {
	name := r.PathValue("container")
	id, err := s.cfg.Backend.Container(r.Context(), pod, name)
	switch {
	case errors.Is(err, ErrNotFound):
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusInternalServerError)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	return id, err == nil
}

// processMetrics are those of Go and of the process.
func processMetrics() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// quiet drops the complaints of http.Server about clients that hang up in the
// middle of a handshake, as port scanners and load balancers do.
func quiet() *log.Logger {
	return log.New(tlsErrors{}, "", 0)
}

type tlsErrors struct{}

func (tlsErrors) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	klog.V(2).InfoS("Server of the node's API", "message", text)
	return len(p), nil
}

package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/environment"
)

// systemLogs shows the machine's own logs, files and directories, as a kubelet
// whose configuration leaves enableSystemLogHandler on and enableSystemLogQuery off.
func (s *Server) systemLogs() http.Handler {
	if s.cfg.SystemLogs == "" {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "logs endpoint is disabled.", http.StatusMethodNotAllowed)
		})
	}
	return http.StripPrefix("/logs/", http.FileServer(http.Dir(s.cfg.SystemLogs)))
}

// containerLogs streams a log.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	options, err := logOptions(r.URL.Query())
	if err != nil {
		http.Error(w, fmt.Sprintf(`{"message": %q}`, err.Error()), http.StatusBadRequest)
		return
	}
	pod, ok := s.podOf(w, r)
	if !ok {
		return
	}
	container := r.PathValue("container")
	if environment.ContainerByName(pod, container) == nil {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, pod.Name), http.StatusNotFound)
		return
	}
	out := &flushed{w: w}
	w.Header().Set("Content-Type", "text/plain")
	err = s.cfg.Backend.Logs(r.Context(), pod, container, options, out, out)
	switch {
	case err == nil:
	case !out.begun:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.Context().Err() == nil:
		klog.FromContext(r.Context()).V(1).Info("Log ended early", "Pod", klog.KObj(pod), "container", container, "reason", err.Error())
	}
}

// flushed sends what is written at once, for whoever follows.
type flushed struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flushed) Write(p []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}

// logOptions reads the query that the API server sends.
func logOptions(q url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{}
	var err error
	flag := func(name string) bool {
		text := q.Get(name)
		if text == "" || err != nil {
			return false
		}
		var b bool
		if b, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("%s: %q is not a boolean", name, text)
		}
		return b
	}
	number := func(name string, least int64) *int64 {
		text := q.Get(name)
		if text == "" || err != nil {
			return nil
		}
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil || n < least {
			err = fmt.Errorf("%s: %q is not an integer of at least %d", name, text, least)
		}
		return &n
	}
	o.Follow, o.Previous, o.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	o.TailLines = number("tailLines", 0)
	o.LimitBytes = number("limitBytes", 1)
	o.SinceSeconds = number("sinceSeconds", 1)
	if text := q.Get("sinceTime"); text != "" && err == nil {
		var t time.Time
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			err = fmt.Errorf("sinceTime: %q is not a time", text)
		}
		o.SinceTime = &metav1.Time{Time: t}
	}
	if err == nil && o.SinceSeconds != nil && o.SinceTime != nil {
		err = fmt.Errorf("at most one of `sinceTime` or `sinceSeconds` may be specified")
	}
	switch text := q.Get("stream"); text {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		o.Stream = &text
		if o.TailLines != nil && err == nil {
			err = fmt.Errorf("`tailLines` and specific `stream` are mutually exclusive for now")
		}
	default:
		err = fmt.Errorf("stream: %q is not one of All, Stdout, Stderr", text)
	}
	return o, err
}

package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// checkLongRunning checks what only containers have that keep running: hooks
// and probes.
func (s *podSpec) checkLongRunning(c *corev1.Container, p *field.Path) {
	if l := c.Lifecycle; l != nil {
		s.checkLifecycle(l, p.Child("lifecycle"))
	}
	if probe := c.LivenessProbe; probe != nil {
		s.checkProbe(probe, p.Child("livenessProbe"))
		s.checkOneSuccess(probe, p.Child("livenessProbe"))
	}
	if probe := c.ReadinessProbe; probe != nil {
		s.checkProbe(probe, p.Child("readinessProbe"))
		if probe.TerminationGracePeriodSeconds != nil {
			s.Invalid(p.Child("readinessProbe", "terminationGracePeriodSeconds"), probe.TerminationGracePeriodSeconds,
				"must not be set for readinessProbes")
		}
	}
	if probe := c.StartupProbe; probe != nil {
		s.checkProbe(probe, p.Child("startupProbe"))
		s.checkOneSuccess(probe, p.Child("startupProbe"))
	}
}

// forbidLongRunning reports hooks and probes of an init container that ends.
func (s *podSpec) forbidLongRunning(c *corev1.Container, p *field.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil},
		{"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil},
		{"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			s.Forbidden(p.Child(f.name), "may not be set for init containers without restartPolicy=Always")
		}
	}
}

func (s *podSpec) checkProbe(probe *corev1.Probe, p *field.Path) {
	s.checkHandler(handler{
		exec: probe.Exec, httpGet: probe.HTTPGet, tcpSocket: probe.TCPSocket, grpc: probe.GRPC,
	}, p)
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", probe.InitialDelaySeconds},
		{"timeoutSeconds", probe.TimeoutSeconds},
		{"periodSeconds", probe.PeriodSeconds},
		{"successThreshold", probe.SuccessThreshold},
		{"failureThreshold", probe.FailureThreshold},
	} {
		s.Nonnegative(p.Child(n.name), int64(n.value))
	}
	if g := probe.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		s.Invalid(p.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

// checkOneSuccess is for probes whose first success decides.
func (s *podSpec) checkOneSuccess(probe *corev1.Probe, p *field.Path) {
	if probe.SuccessThreshold != 1 {
		s.Invalid(p.Child("successThreshold"), probe.SuccessThreshold, "must be 1")
	}
}

func (s *podSpec) checkLifecycle(l *corev1.Lifecycle, p *field.Path) {
	hook := func(h *corev1.LifecycleHandler, p *field.Path) {
		if h != nil {
			s.checkHandler(handler{exec: h.Exec, httpGet: h.HTTPGet, tcpSocket: h.TCPSocket, sleep: h.Sleep}, p)
		}
	}
	hook(l.PostStart, p.Child("postStart"))
	hook(l.PreStop, p.Child("preStop"))
	if l.StopSignal != nil {
		s.checkStopSignal(*l.StopSignal, p.Child("stopSignal"))
	}
}

func (s *podSpec) checkStopSignal(signal corev1.Signal, p *field.Path) {
	switch os := s.spec.OS; {
	case os == nil:
		s.Forbidden(p, "may not be set for containers with empty `spec.os.name`")
	case os.Name == corev1.Windows:
		validate.Enum(&s.Errors, p, signal, corev1.SIGKILL, corev1.SIGTERM)
	case os.Name == corev1.Linux:
		validate.Enum(&s.Errors, p, signal, linuxSignals...)
	}
}

// linuxSignals are in the order in which Kubernetes lists them.
var linuxSignals = []corev1.Signal{
	corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE,
	corev1.SIGHUP, corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE,
	corev1.SIGPOLL, corev1.SIGPROF, corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGRTMAX, corev1.SIGRTMAXMINUS1,
	corev1.SIGRTMAXMINUS10, corev1.SIGRTMAXMINUS11, corev1.SIGRTMAXMINUS12, corev1.SIGRTMAXMINUS13,
	corev1.SIGRTMAXMINUS14, corev1.SIGRTMAXMINUS2, corev1.SIGRTMAXMINUS3, corev1.SIGRTMAXMINUS4,
	corev1.SIGRTMAXMINUS5, corev1.SIGRTMAXMINUS6, corev1.SIGRTMAXMINUS7, corev1.SIGRTMAXMINUS8,
	corev1.SIGRTMAXMINUS9, corev1.SIGRTMIN, corev1.SIGRTMINPLUS1, corev1.SIGRTMINPLUS10, corev1.SIGRTMINPLUS11,
	corev1.SIGRTMINPLUS12, corev1.SIGRTMINPLUS13, corev1.SIGRTMINPLUS14, corev1.SIGRTMINPLUS15,
	corev1.SIGRTMINPLUS2, corev1.SIGRTMINPLUS3, corev1.SIGRTMINPLUS4, corev1.SIGRTMINPLUS5, corev1.SIGRTMINPLUS6,
	corev1.SIGRTMINPLUS7, corev1.SIGRTMINPLUS8, corev1.SIGRTMINPLUS9, corev1.SIGSEGV, corev1.SIGSTKFLT,
	corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP, corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU,
	corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH, corev1.SIGXCPU, corev1.SIGXFSZ,
}

// handler is what probes and hooks do; one field is set.
type handler struct {
	exec      *corev1.ExecAction
	httpGet   *corev1.HTTPGetAction
	tcpSocket *corev1.TCPSocketAction
	grpc      *corev1.GRPCAction
	sleep     *corev1.SleepAction
}

func (s *podSpec) checkHandler(h handler, p *field.Path) {
	n := 0
	one := func(name string, set bool, check func(*field.Path)) {
		if !set {
			return
		}
		if n++; n > 1 {
			s.Forbidden(p.Child(name), "may not specify more than 1 handler type")
			return
		}
		check(p.Child(name))
	}
	one("exec", h.exec != nil, func(p *field.Path) {
		if len(h.exec.Command) == 0 {
			s.Required(p.Child("command"), "")
		}
	})
	one("httpGet", h.httpGet != nil, func(p *field.Path) { s.checkHTTPGet(h.httpGet, p) })
	one("tcpSocket", h.tcpSocket != nil, func(p *field.Path) { s.PortNumberOrName(p.Child("port"), h.tcpSocket.Port) })
	one("grpc", h.grpc != nil, func(p *field.Path) {
		s.PortNumberOrName(p.Child("port"), intstr.FromInt32(h.grpc.Port))
	})
	one("sleep", h.sleep != nil, func(p *field.Path) { s.checkSleep(h.sleep.Seconds, p) })
	if n == 0 {
		s.Required(p, "must specify a handler type")
	}
}

func (s *podSpec) checkHTTPGet(get *corev1.HTTPGetAction, p *field.Path) {
	s.Text(p.Child("path"), get.Path)
	s.PortNumberOrName(p.Child("port"), get.Port)
	validate.Enum(&s.Errors, p.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, h := range get.HTTPHeaders {
		s.Messages(p.Child("httpHeaders"), h.Name, validation.IsHTTPHeaderName(h.Name))
	}
}

// checkSleep holds a hook's sleep to the time that the pod has to end. A pod
// without that time is reported already.
func (s *podSpec) checkSleep(seconds int64, p *field.Path) {
	if g := s.spec.TerminationGracePeriodSeconds; g != nil && (seconds < 0 || seconds > *g) {
		s.Invalidf(p, seconds, "must be non-negative and less than terminationGracePeriodSeconds (%d)", *g)
	}
}

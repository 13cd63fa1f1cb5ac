package pods

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"

	"github.com/skiffcluster/skiff/api/core"
)

// agentPort is where agents listen that do not say
// (https://kubernetes.io/docs/reference/networking/ports-and-protocols/).
const agentPort = 10250

// agent is where the agent of a pod's node listens.
func (d Deps) agent(ctx context.Context, node string) (*url.URL, error) {
	n, err := d.Node(ctx, node)
	if err != nil {
		return nil, err
	}
	port := int(n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = agentPort
	}
	for _, want := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalIP, corev1.NodeExternalDNS} {
		for _, a := range n.Status.Addresses {
			if a.Type == want {
				return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(port))}, nil
			}
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no preferred addresses found; known addresses: %v", n.Status.Addresses))
}

// location is the agent's path for one container of a pod.
func (d Deps) location(ctx context.Context, name, verb, container string, query url.Values) (*url.URL, error) {
	pod, err := d.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	u, err := d.agent(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	u.Path = "/" + verb + "/" + pod.Namespace + "/" + pod.Name
	if container != "" {
		u.Path += "/" + container
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// containerOf picks the container that a request means: the one it names, the
// one that is annotated as the default, or the only one.
func containerOf(pod *corev1.Pod, asked string) (string, error) {
	var names []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	var inits, ephemerals []string
	for i := range pod.Spec.InitContainers {
		inits = append(inits, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		ephemerals = append(ephemerals, pod.Spec.EphemeralContainers[i].Name)
	}
	if asked != "" {
		for _, n := range append(append(append([]string{}, names...), inits...), ephemerals...) {
			if n == asked {
				return asked, nil
			}
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", asked, pod.Name))
	}
	if len(names) == 1 {
		return names[0], nil
	}
	msg := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names, " "))
	if len(inits) > 0 {
		msg += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(inits, " "))
	}
	if len(ephemerals) > 0 {
		msg += fmt.Sprintf(" or one of the ephemeral containers: [%s]", strings.Join(ephemerals, " "))
	}
	return "", apierrors.NewBadRequest(msg)
}

// connect is exec, attach or port-forward: a stream that the agent serves.
type connect struct {
	Deps
	verb    string
	options func() runtime.Object
}

func (c *connect) New() runtime.Object      { return c.options() }
func (c *connect) Destroy()                 {}
func (c *connect) ConnectMethods() []string { return []string{"GET", "POST"} }

// NewConnectOptions implements rest.Connecter.
func (c *connect) NewConnectOptions() (runtime.Object, bool, string) { return c.options(), false, "" }

// Connect implements rest.Connecter.
func (c *connect) Connect(ctx context.Context, name string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	if err := c.mayCreate(ctx); err != nil {
		return nil, err
	}
	pod, err := c.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	query, container, err := streamQuery(pod, o)
	if err != nil {
		return nil, err
	}
	if ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed; ended && c.verb != "portForward" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot exec into a container in a completed pod; current phase is %s", pod.Status.Phase))
	}
	location, err := c.location(ctx, name, c.verb, container, query)
	if err != nil {
		return nil, err
	}
	onward := utilproxy.NewUpgradeAwareHandler(location, c.Agents, false, true, utilproxy.NewErrorResponder(responder))
	if c.verb == "portForward" {
		return streamproxy.NewTranslatingHandler(onward, streamproxy.NewTunnelingHandler(onward), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
	}
	translate := streamproxy.NewStreamTranslatorHandler(location, c.Agents, 0, streamOptions(o))
	return streamproxy.NewTranslatingHandler(onward, translate, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

// streamQuery is how agents are asked for a stream.
func streamQuery(pod *corev1.Pod, o runtime.Object) (url.Values, string, error) {
	q := url.Values{}
	flags := func(stdin, stdout, stderr, tty bool) error {
		if !stdin && !stdout && !stderr {
			return apierrors.NewBadRequest("you must specify at least one of stdin, stdout, stderr")
		}
		if tty && stderr {
			return apierrors.NewBadRequest("tty and stderr cannot both be true")
		}
		for name, on := range map[string]bool{corev1.ExecStdinParam: stdin, corev1.ExecStdoutParam: stdout, corev1.ExecStderrParam: stderr, corev1.ExecTTYParam: tty} {
			if on {
				q.Set(name, "1")
			}
		}
		return nil
	}
	switch o := o.(type) {
	case *corev1.PodExecOptions:
		if len(o.Command) == 0 {
			return nil, "", apierrors.NewBadRequest("you must specify at least 1 command for the container")
		}
		q[corev1.ExecCommandParam] = o.Command
		container, err := containerOf(pod, o.Container)
		if err != nil {
			return nil, "", err
		}
		return q, container, flags(o.Stdin, o.Stdout, o.Stderr && !o.TTY, o.TTY)
	case *corev1.PodAttachOptions:
		container, err := containerOf(pod, o.Container)
		if err != nil {
			return nil, "", err
		}
		return q, container, flags(o.Stdin, o.Stdout, o.Stderr && !o.TTY, o.TTY)
	case *corev1.PodPortForwardOptions:
		for _, p := range o.Ports {
			q.Add(corev1.PortHeader, strconv.Itoa(int(p)))
		}
		return q, "", nil
	}
	return nil, "", apierrors.NewBadRequest(fmt.Sprintf("invalid options object: %T", o))
}

func streamOptions(o runtime.Object) streamproxy.Options {
	switch o := o.(type) {
	case *corev1.PodExecOptions:
		return streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	case *corev1.PodAttachOptions:
		return streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	}
	return streamproxy.Options{}
}

// log streams a container's output from the agent.
type log struct{ Deps }

func (l *log) New() runtime.Object               { return &corev1.Pod{} }
func (l *log) Destroy()                          {}
func (l *log) ProducesMIMETypes(string) []string { return []string{"text/plain"} }
func (l *log) ProducesObject(string) any         { return "" }

// NewGetOptions implements rest.GetterWithOptions.
func (l *log) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// OverrideMetricsVerb makes following count as its own verb.
func (l *log) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

// Get implements rest.GetterWithOptions.
func (l *log) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	if errs := core.ValidatePodLogOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
	}
	pod, err := l.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		// Nothing runs yet: an empty answer, so that clients try again.
		return &genericrest.LocationStreamer{}, nil
	}
	location, err := l.location(ctx, name, "containerLogs", container, logQuery(o))
	if err != nil {
		return nil, err
	}
	return &genericrest.LocationStreamer{
		Location: location, Transport: l.Agents, ContentType: "text/plain", Flush: o.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(corev1.Resource("pods/log"), name),
		RedirectChecker: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, on bool) {
		if on {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format("2006-01-02T15:04:05Z07:00"))
	}
	if o.Stream != nil {
		q.Set("stream", *o.Stream)
	}
	return q
}

var (
	_ rest.Connecter         = &connect{}
	_ rest.GetterWithOptions = &log{}
	_ rest.NamedCreater      = &binding{}
	_ rest.Creater           = topBinding{}
	_ rest.NamedCreater      = &eviction{}
)

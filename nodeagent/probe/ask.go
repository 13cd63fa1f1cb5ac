package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiffcluster/skiff/nodeagent/environment"
)

// result of one probe, as events name it.
type result string

const (
	success result = "success"
	warning result = "warning" // a success with something to say
	failure result = "failure"
	unknown result = "unknown" // could not be asked
)

const (
	// maxTries is how often a probe that can't be asked is tried at once.
	maxTries = 3
	// maxOutput is how much of an answer is kept: 10 KiB.
	maxOutput = 10 << 10
)

// ask runs a probe. The error is not nil if there is no answer.
func (p *Prober) ask(w *worker) (answer result, output string, err error) {
	for range maxTries {
		answer, output, err = p.askOnce(w)
		if err == nil || p.ctx.Err() != nil {
			break
		}
	}
	return answer, output, err
}

func (p *Prober) askOnce(w *worker) (result, string, error) {
	t := &w.container.target
	timeout := time.Duration(w.spec.TimeoutSeconds) * time.Second
	switch {
	case w.spec.Exec != nil:
		return p.askExec(t, w.spec.Exec.Command, timeout)

	case w.spec.HTTPGet != nil:
		req, err := NewRequest(w.spec.HTTPGet, t.Container, t.PodIP, "probe")
		if err != nil {
			return unknown, "", err
		}
		return p.http.ask(p.ctx, req, timeout)

	case w.spec.TCPSocket != nil:
		port, err := ResolvePort(w.spec.TCPSocket.Port, t.Container)
		if err != nil {
			return unknown, "", err
		}
		host := w.spec.TCPSocket.Host
		if host == "" {
			host = t.PodIP
		}
		return askTCP(p.ctx, net.JoinHostPort(host, strconv.Itoa(port)), timeout)

	case w.spec.GRPC != nil:
		service := ""
		if w.spec.GRPC.Service != nil {
			service = *w.spec.GRPC.Service
		}
		return askGRPC(p.ctx, net.JoinHostPort(t.PodIP, strconv.Itoa(int(w.spec.GRPC.Port))), service, timeout)
	}
	return unknown, "", fmt.Errorf("missing probe handler for %s:%s", podName(t.Pod), t.Container.Name)
}

func podName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// askExec runs a command in the container. Only variables whose values stand in
// the pod's spec are expanded in it.
func (p *Prober) askExec(t *Target, command []string, timeout time.Duration) (result, string, error) {
	if p.cfg.Exec == nil {
		return unknown, "", errors.New("this node runs no commands in containers")
	}
	static := make([]string, 0, len(t.Container.Env))
	for _, e := range t.Container.Env {
		static = append(static, e.Name+"="+e.Value)
	}
	command = environment.ExpandCommand(command, static)
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	code, output, err := p.cfg.Exec.ExecProbe(ctx, t.ID, command)
	if len(output) > maxOutput {
		output = output[:maxOutput]
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failure, fmt.Sprintf("command %q timed out", strings.Join(command, " ")), nil
	case err != nil:
		return unknown, "", err
	case code != 0:
		return failure, string(output), nil
	}
	return success, string(output), nil
}

// askTCP opens a connection.
func askTCP(ctx context.Context, address string, timeout time.Duration) (result, string, error) {
	dialer := newDialer()
	dialer.Timeout = timeout
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return failure, err.Error(), nil //nolint:nilerr // a failure is an answer
	}
	if err := conn.Close(); err != nil {
		return failure, err.Error(), nil //nolint:nilerr // as above
	}
	return success, "", nil
}

// ResolvePort gives the number of a port, which may be the name of one of the
// container's.
func ResolvePort(port intstr.IntOrString, c *corev1.Container) (int, error) {
	number := 0
	switch port.Type {
	case intstr.Int:
		number = port.IntValue()
	case intstr.String:
		found := false
		for _, have := range c.Ports {
			if have.Name == port.StrVal {
				number, found = int(have.ContainerPort), true
				break
			}
		}
		if !found {
			var err error
			if number, err = strconv.Atoi(port.StrVal); err != nil {
				return 0, fmt.Errorf("port %s not found: %w", port.StrVal, err)
			}
		}
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", number)
	}
	return number, nil
}

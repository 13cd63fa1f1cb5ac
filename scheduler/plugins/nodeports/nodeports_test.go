package nodeports_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/nodeports"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func port(ip string, protocol corev1.Protocol, n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, Protocol: protocol, HostPort: n}}
	}
}

func TestFilter(t *testing.T) {
	const taken = "node(s) didn't have free ports for the requested pod ports"
	for name, test := range map[string]struct {
		pod, there func(*corev1.Pod)
		want       string
	}{
		"the same port is taken":            {port("", "TCP", 80), port("", "TCP", 80), taken},
		"another port is free":              {port("", "TCP", 81), port("", "TCP", 80), ""},
		"another protocol is free":          {port("", "UDP", 80), port("", "TCP", 80), ""},
		"another address is free":           {port("127.0.0.1", "TCP", 80), port("127.0.0.2", "TCP", 80), ""},
		"all addresses take each":           {port("127.0.0.1", "TCP", 80), port("", "TCP", 80), taken},
		"one address takes from all":        {port("0.0.0.0", "", 80), port("127.0.0.1", "TCP", 80), taken},
		"container ports are no host ports": {port("", "TCP", 0), port("", "TCP", 80), ""},
	} {
		t.Run(name, func(t *testing.T) {
			turn := Turn(t, Pod("p", "", test.pod), []*corev1.Node{Node("n", "")}, Pod("q", "", On("n"), test.there))
			if got := Judge(nodeports.Rule{}, turn)["n"]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

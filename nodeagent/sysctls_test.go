package nodeagent

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestForbiddenSysctls(t *testing.T) {
	tests := map[string]struct {
		sysctl  string
		spec    corev1.PodSpec
		allowed []string
		want    string
	}{
		"a safe one":                                  {sysctl: "net.ipv4.tcp_syncookies"},
		"a safe one, with slashes":                    {sysctl: "kernel/shm_rmid_forced"},
		"an unsafe one":                               {sysctl: "kernel.msgmax", want: `forbidden sysctl: "kernel.msgmax" not allowlisted`},
		"an unsafe one that is allowed":               {sysctl: "kernel.msgmax", allowed: []string{"kernel.msgmax"}},
		"an unsafe one of a group that is allowed":    {sysctl: "net/core/somaxconn", allowed: []string{"net.core.*"}},
		"an unsafe one of another group":              {sysctl: "net.ipv4.ip_forward", allowed: []string{"net.core.*"}, want: `forbidden sysctl: "net.ipv4.ip_forward" not allowlisted`},
		"one of the network, which is the node's":     {sysctl: "net.ipv4.tcp_syncookies", spec: corev1.PodSpec{HostNetwork: true}, want: `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled`},
		"one of IPC, which is the node's":             {sysctl: "kernel.shm_rmid_forced", spec: corev1.PodSpec{HostIPC: true}, want: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		"one of IPC in a pod of the node's network":   {sysctl: "kernel.shm_rmid_forced", spec: corev1.PodSpec{HostNetwork: true}},
		"one of users, which are the node's":          {sysctl: "user.max_user_namespaces", allowed: []string{"user.*"}, want: `forbidden sysctl: "user.max_user_namespaces" not allowed with host User enabled`},
		"one of users, which are the pod's":           {sysctl: "user.max_user_namespaces", allowed: []string{"user.*"}, spec: corev1.PodSpec{HostUsers: ptr.To(false)}},
		"one whose name begins as that of a safe one": {sysctl: "net.ipv4.tcp_rmem_other", want: `forbidden sysctl: "net.ipv4.tcp_rmem_other" not allowlisted`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: test.sysctl, Value: "1"}}}
			if got := forbiddenSysctl(&corev1.Pod{Spec: test.spec}, test.allowed); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := forbiddenSysctl(&corev1.Pod{}, nil); got != "" {
		t.Errorf("a pod without any: %q", got)
	}
}

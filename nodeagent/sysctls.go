package nodeagent

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safeSysctls are those that belong to a pod's namespaces and touch nobody else
// (upstream's list; all are in every kernel from 4.15 on).
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_notsent_lowat",
	"net.ipv4.tcp_rmem",
	"net.ipv4.tcp_slow_start_after_idle",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_wmem",
}

// forbiddenSysctl says why a pod may not have the sysctls that it asks for, in the
// kubelet's words; empty if it may. Beside the safe ones it may have those that
// allowed names, or names the beginning of: "net.core.*".
func forbiddenSysctl(pod *corev1.Pod, allowed []string) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, wanted := range pod.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(wanted.Name)
		listed := slices.Contains(safeSysctls, name) || slices.ContainsFunc(allowed, func(pattern string) bool {
			pattern = sysctl.NormalizeName(pattern)
			prefix, more := strings.CutSuffix(pattern, "*")
			return name == pattern || more && strings.HasPrefix(name, prefix)
		})
		if !listed {
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		}
		namespace, _, _ := sysctl.GetNamespace(name)
		shared := map[sysctl.Namespace]bool{
			sysctl.IPCNamespace:  pod.Spec.HostIPC,
			sysctl.NetNamespace:  pod.Spec.HostNetwork,
			sysctl.UserNamespace: pod.Spec.HostUsers == nil || *pod.Spec.HostUsers,
		}
		if shared[namespace] {
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, namespace)
		}
	}
	return ""
}

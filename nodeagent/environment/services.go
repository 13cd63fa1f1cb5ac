package environment

import (
	"maps"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serviceVariables gives the variables that tell a container of services: those
// of the pod's namespace unless enableServiceLinks is false, and the API
// server's always.
func serviceVariables(in Input) map[string]string {
	env := map[string]string{}
	links := in.Pod.Spec.EnableServiceLinks == nil || *in.Pod.Spec.EnableServiceLinks
	for _, s := range in.Services {
		if !hasClusterIP(s) {
			continue
		}
		if s.Namespace == in.Pod.Namespace && links {
			maps.Copy(env, variablesOf(s))
		}
	}
	for _, s := range in.Services {
		if s.Namespace != metav1.NamespaceDefault || s.Name != "kubernetes" || !hasClusterIP(s) {
			continue
		}
		for name, value := range variablesOf(s) {
			// A Service of the same name in the pod's namespace goes first.
			if _, taken := env[name]; !taken || s.Namespace == in.Pod.Namespace {
				env[name] = value
			}
		}
	}
	return env
}

func hasClusterIP(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone
}

// variablesOf gives NAME_SERVICE_HOST and NAME_SERVICE_PORT, and the same again
// in the form that Docker links had, NAME_PORT_80_TCP_ADDR.
func variablesOf(s *corev1.Service) map[string]string {
	prefix := variableName(s.Name)
	ip := s.Spec.ClusterIP
	env := map[string]string{prefix + "_SERVICE_HOST": ip}
	for i, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		address := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			env[prefix+"_SERVICE_PORT"] = port
			env[prefix+"_PORT"] = address
		}
		if p.Name != "" {
			env[prefix+"_SERVICE_PORT_"+variableName(p.Name)] = port
		}
		link := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env[link] = address
		env[link+"_PROTO"] = strings.ToLower(protocol)
		env[link+"_PORT"] = port
		env[link+"_ADDR"] = ip
	}
	return env
}

func variableName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

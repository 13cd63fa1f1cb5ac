package environment

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DNS is how a node resolves names.
type DNS struct {
	// ClusterDNS are the addresses of the cluster's DNS service. Without any,
	// ClusterFirst works as Default and warns with reason MissingClusterDNS.
	ClusterDNS []string
	// ClusterDomain such as "cluster.local".
	ClusterDomain string
	// ResolvConf is the content of the node's own file, for Default and for
	// the search paths.
	ResolvConf []byte
}

// Limits that the kubelet sets, since resolvers ignore more.
const (
	maxNameservers  = 3
	maxSearchPaths  = 32
	maxSearchLength = 2048
)

// resolver is a resolv.conf in parts.
type resolver struct {
	servers, searches, options []string
}

// ResolvConf is the content of a pod's /etc/resolv.conf.
func ResolvConf(dns DNS, pod *corev1.Pod) ([]byte, []Warning, error) {
	var warnings []Warning
	node := parseResolvConf(dns.ResolvConf)
	r := resolver{}
	switch policy := pod.Spec.DNSPolicy; effectivePolicy(pod) {
	case corev1.DNSNone:
	case corev1.DNSClusterFirst:
		if len(dns.ClusterDNS) > 0 {
			r = clusterFirst(dns, pod, node)
			break
		}
		warnings = append(warnings, Warning{
			Reason: "MissingClusterDNS",
			Message: fmt.Sprintf("pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
				podName(pod), policy, corev1.DNSDefault),
		})
		r = node
	case corev1.DNSDefault:
		r = node
	default:
		return nil, nil, fmt.Errorf("invalid DNSPolicy=%v", policy)
	}
	if pod.Spec.DNSConfig != nil {
		r = r.with(pod.Spec.DNSConfig)
	}
	r, limited := r.limited()
	return r.format(), append(warnings, limited...), nil
}

// podName is how the kubelet names a pod in messages.
func podName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// effectivePolicy is what a pod's policy means for its network.
func effectivePolicy(pod *corev1.Pod) corev1.DNSPolicy {
	switch pod.Spec.DNSPolicy {
	case corev1.DNSClusterFirst, "":
		if pod.Spec.HostNetwork {
			return corev1.DNSDefault
		}
		return corev1.DNSClusterFirst
	case corev1.DNSClusterFirstWithHostNet:
		return corev1.DNSClusterFirst
	}
	return pod.Spec.DNSPolicy
}

func clusterFirst(dns DNS, pod *corev1.Pod, node resolver) resolver {
	searches := node.searches
	if dns.ClusterDomain != "" {
		searches = append([]string{
			pod.Namespace + ".svc." + dns.ClusterDomain,
			"svc." + dns.ClusterDomain,
			dns.ClusterDomain,
		}, searches...)
	}
	return resolver{servers: dns.ClusterDNS, searches: unique(searches), options: []string{"ndots:5"}}
}

// with adds a pod's dnsConfig: servers and searches follow, options replace
// those of the same name.
func (r resolver) with(c *corev1.PodDNSConfig) resolver {
	r.servers = unique(slices.Concat(r.servers, c.Nameservers))
	r.searches = unique(slices.Concat(r.searches, c.Searches))
	name := func(option string) string {
		n, _, _ := strings.Cut(option, ":")
		return n
	}
	options := slices.Clone(r.options)
	for _, o := range c.Options {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		if i := slices.IndexFunc(options, func(have string) bool { return name(have) == o.Name }); i >= 0 {
			options[i] = text
		} else {
			options = append(options, text)
		}
	}
	r.options = options
	return r
}

// limited drops what a resolver would ignore.
func (r resolver) limited() (resolver, []Warning) {
	var warnings []Warning
	warn := func(format string, args ...any) {
		warnings = append(warnings, Warning{Reason: "DNSConfigForming", Message: fmt.Sprintf(format, args...)})
	}
	if len(r.servers) > maxNameservers {
		r.servers = r.servers[:maxNameservers]
		warn("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: %s", strings.Join(r.servers, " "))
	}
	before := len(r.searches)
	if before > maxSearchPaths {
		r.searches = r.searches[:maxSearchPaths]
	}
	for len(strings.Join(r.searches, " ")) > maxSearchLength {
		r.searches = r.searches[:len(r.searches)-1]
	}
	if len(r.searches) < before {
		warn("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: %s", strings.Join(r.searches, " "))
	}
	return r, warnings
}

func (r resolver) format() []byte {
	var b bytes.Buffer
	if len(r.searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.searches, " "))
	}
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.Bytes()
}

// parseResolvConf reads a resolv.conf; the last search line counts, as
// resolv.conf(5) says.
func parseResolvConf(content []byte) resolver {
	var r resolver
	for line := range strings.Lines(string(content)) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			r.servers = append(r.servers, words[1])
		case "search":
			r.searches = nil
			for _, s := range words[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				r.searches = append(r.searches, s)
			}
		case "options":
			r.options = words[1:]
		}
	}
	return r
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

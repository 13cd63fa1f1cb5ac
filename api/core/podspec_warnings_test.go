package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/core"
)

func TestPodWarnings(t *testing.T) {
	const (
		zone     = `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
		arch     = `deprecated since v1.14; use "kubernetes.io/arch" instead`
		null     = "a null labelSelector results in matching no pod"
		required = "requiredDuringSchedulingIgnoredDuringExecution"
		prefer   = "preferredDuringSchedulingIgnoredDuringExecution"
		seccomp  = `non-functional in v1.27+; use the "seccompProfile" field instead`
	)
	one := func(text string) string { return `{spec: {containers: [{name: c, image: i, ` + text + `}]}}` }
	for _, r := range []row{
		{"nothing", `{}`, nil},
		{"a selector of old labels", `{spec: {nodeSelector: {beta.kubernetes.io/arch: x, failure-domain.beta.kubernetes.io/zone: z, other: o}}}`,
			[]string{"spec.nodeSelector[beta.kubernetes.io/arch]: " + arch, "spec.nodeSelector[failure-domain.beta.kubernetes.io/zone]: " + zone}},
		{"an affinity of old labels", `{spec: {affinity: {nodeAffinity: {
			` + required + `: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/arch, operator: Exists}]}]},
			` + prefer + `: [{weight: 1, preference: {matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: Exists}]}}]}}}}`, []string{
			"spec.affinity.nodeAffinity." + required + ".nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is " + arch,
			"spec.affinity.nodeAffinity." + prefer + "[0].preference.matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is " + zone}},
		{"a spread over old labels", `{spec: {topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone}]}}`, []string{
			"spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is " + zone,
			"spec.topologySpreadConstraints[0].labelSelector: " + null}},
		{"affinities to nothing", `{spec: {affinity: {podAffinity: {` + required + `: [{topologyKey: t}]}, podAntiAffinity: {` + prefer + `: [{weight: 1, podAffinityTerm: {topologyKey: t}}]}}}}`, []string{
			"spec.affinity.podAffinity." + required + "[0].labelSelector: " + null,
			"spec.affinity.podAntiAffinity." + prefer + "[0].podAffinityTerm.labelSelector: " + null}},
		{"annotations of old", `{metadata: {annotations: {scheduler.alpha.kubernetes.io/critical-pod: "", security.alpha.kubernetes.io/sysctls: a, security.alpha.kubernetes.io/unsafe-sysctls: b}}}`, []string{
			`metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead`,
			`metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the "sysctls" field instead`,
			`metadata.annotations[security.alpha.kubernetes.io/unsafe-sysctls]: non-functional in v1.11+; use the "sysctls" field instead`}},
		{"seccomp's annotations", `{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: a, container.seccomp.security.alpha.kubernetes.io/c: a, container.seccomp.security.alpha.kubernetes.io/x: a}}}`, []string{
			"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: " + seccomp, "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: " + seccomp}},
		{"seccomp's annotations beside fields", `{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: a, container.seccomp.security.alpha.kubernetes.io/c: a}},
			spec: {securityContext: {seccompProfile: {type: Unconfined}}, containers: [{name: c, image: i, securityContext: {seccompProfile: {type: Unconfined}}}]}}`, nil},
		{"volumes of old", `{spec: {volumes: [{photonPersistentDisk: {}}, {gitRepo: {}}, {scaleIO: {}}, {flocker: {}}, {storageos: {}}, {quobyte: {}}, {glusterfs: {}}, {cephfs: {}}, {rbd: {}}, {nfs: {}}]}}`, []string{
			"spec.volumes[0].photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
			"spec.volumes[1].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
			"spec.volumes[2].scaleIO: deprecated in v1.16, non-functional in v1.22+",
			"spec.volumes[3].flocker: deprecated in v1.22, non-functional in v1.25+",
			"spec.volumes[4].storageOS: deprecated in v1.22, non-functional in v1.25+",
			"spec.volumes[5].quobyte: deprecated in v1.22, non-functional in v1.25+",
			"spec.volumes[6].glusterfs: deprecated in v1.25, non-functional in v1.26+",
			"spec.volumes[7].cephfs: deprecated in v1.28, non-functional in v1.31+",
			"spec.volumes[8].rbd: deprecated in v1.28, non-functional in v1.31+"}},
		{"a part of a byte of storage", `{spec: {volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 200m}}}}}}]}}`,
			[]string{`spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "200m" is invalid, must be an integer`}},
		{"files in one place", `{spec: {volumes: [{name: v, secret: {secretName: s, items: [{path: a}, {path: b/c}, {path: a}, {path: b/}]}}, {name: c, configMap: {name: m, items: [{path: a}, {path: ab}]}},
			{name: d, downwardAPI: {items: [{path: a/b}, {path: a}]}}]}}`, []string{
			`volume "v" (Secret "s"): overlapping paths: "a" with "a"`, `volume "v" (Secret "s"): overlapping paths: "b" with "b/c"`,
			`volume "d" (DownwardAPI): overlapping paths: "a" with "a/b"`}},
		{"files beside a token", `{spec: {volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}, {configMap: {name: m, items: [{path: a}, {path: t}]}},
			{secret: {name: s, items: [{path: t/a}]}}, {clusterTrustBundle: {signerName: x, path: c}}, {podCertificate: {keyPath: c}}, {}]}}]}}`, []string{
			`volume "v" (Projected) has no sources provided`,
			`volume "v" (Projected): overlapping paths: "t" (ConfigMap "m") with "t" (ServiceAccountToken)`,
			`volume "v" (Projected): overlapping paths: "t/a" (Secret "s") with "t" (ServiceAccountToken)`,
			`volume "v" (Projected): overlapping paths: "t/a" (Secret "s") with "t" (ConfigMap "m")`,
			`volume "v" (Projected): overlapping paths: "c" (PodCertificate key) with "c" (ClusterTrustBundle "x")`}},
		{"a port's name twice", `{spec: {containers: [{name: a, image: i, ports: [{name: http, containerPort: 80}]}, {name: b, image: i, ports: [{name: http, containerPort: 81}]}]}}`, []string{
			`spec.containers[1].ports[0]: duplicate port name "http" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]`}},
		{"addresses of old", `{spec: {dnsConfig: {nameservers: [010.0.0.1]}, hostAliases: [{ip: "FD00::1"}]}}`, []string{
			`spec.dnsConfig.nameservers[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`,
			`spec.hostAliases[0].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")`}},
		{"two of a kind", `{spec: {hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}], imagePullSecrets: [{name: a}, {name: a}, {name: ""}]}}`, []string{
			`spec.hostAliases[1].ip: duplicate ip "10.0.0.1"`, `spec.imagePullSecrets[1].name: duplicate name "a"`, `spec.imagePullSecrets[2].name: invalid empty name ""`}},
		{"parts of a byte", `{spec: {overhead: {memory: 100m}, containers: [{name: c, image: i, resources: {limits: {memory: 1500m}, requests: {ephemeral-storage: 1m}}}]}}`, []string{
			`spec.overhead[memory]: fractional byte value "100m" is invalid, must be an integer`,
			`spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer`,
			`spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer`,
			`spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value "1m" is invalid, must be an integer`}},
		{"a variable twice", one(`env: [{name: A, value: a}, {name: A, value: b}]`),
			[]string{`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`}},
		{"a variable of itself", one(`env: [{name: A, value: a}, {name: A, value: "$(A):b"}]`), nil},
		{"a variable that is itself", one(`env: [{name: A, value: a}, {name: A, value: "$(A)"}]`),
			[]string{`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`}},
		{"a port twice", one(`ports: [{containerPort: 80}, {containerPort: 80}, {containerPort: 80, protocol: UDP}]`),
			[]string{"spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"}},
		{"a port in two containers", `{spec: {containers: [{name: a, image: i, ports: [{containerPort: 80}]}, {name: b, image: i, ports: [{containerPort: 80, hostPort: 8080}]}]}}`,
			[]string{"spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]"}},
		{"a port of one address and of all", one(`ports: [{containerPort: 80, hostPort: 80, hostIP: 10.0.0.1}, {containerPort: 80, hostPort: 80}]`),
			[]string{"spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"}},
		{"a port of two addresses", one(`ports: [{containerPort: 80, hostPort: 80, hostIP: 10.0.0.1}, {containerPort: 80, hostPort: 80, hostIP: 10.0.0.2}]`), nil},
		{"an address without a port", one(`ports: [{containerPort: 80, hostIP: 10.0.0.1}]`),
			[]string{"spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}"}},
		{"a name that is no host's", `{metadata: {name: a.b}}`,
			[]string{"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := pod(t, r.yaml)
			same(t, podKind.Warnings(t.Context(), p, nil), r.want)
			same(t, podKind.Warnings(t.Context(), p, p), nil)
		})
	}
}

func TestPodTemplateWarnings(t *testing.T) {
	const appArmor = "container.apparmor.security.beta.kubernetes.io/c"
	for _, r := range []row{
		{"nothing", `{}`, nil},
		{"a profile's annotation", `{metadata: {annotations: {` + appArmor + `: unconfined}}}`,
			[]string{"template.metadata.annotations[" + appArmor + `]: deprecated since v1.30; use the "appArmorProfile" field instead`}},
		{"a profile's annotation beside the field", `{metadata: {annotations: {` + appArmor + `: unconfined}}, spec: {securityContext: {appArmorProfile: {type: Unconfined}}}}`, nil},
		{"a negative grace", `{spec: {terminationGracePeriodSeconds: -1}}`,
			[]string{"template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"}},
		{"a node that cannot be", `{spec: {affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: ["b!"]}]}}]}}}}`,
			[]string{"template.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: b! is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"}},
		{"a selector of an old label", `{spec: {nodeSelector: {beta.kubernetes.io/os: linux}}}`,
			[]string{`template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			template := decode(t, r.yaml, &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
			same(t, core.PodTemplateWarnings(template, field.NewPath("template")), r.want)
		})
	}
	same(t, core.PodTemplateWarnings(nil, nil), nil)
}

package core_test

import (
	"testing"

	"github.com/skiffcluster/skiff/api/core"
)

func TestPodStatusUpdate(t *testing.T) {
	const (
		running = `state: {running: {}}`
		failed  = `state: {terminated: {exitCode: 3}}`
		done    = `state: {terminated: {exitCode: 0}}`
	)
	// one is a pod whose container has parts, and a status.
	one := func(parts, status string) string {
		return `{spec: {restartPolicy: Never, containers: [{name: c, image: i, ` + parts + `}]}, status: {containerStatuses: [{name: c, ` + status + `}]}}`
	}
	policy := func(policy, status string) string {
		return `{spec: {restartPolicy: ` + policy + `}, status: {containerStatuses: [{name: c, ` + status + `}]}}`
	}
	initial := func(parts, status string) string {
		return `{spec: {restartPolicy: Never, initContainers: [{name: c, image: i, ` + parts + `}]}, status: {initContainerStatuses: [{name: c, ` + status + `}]}}`
	}
	rule := func(operator, codes string) string {
		return `restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: ` + operator + `, values: [` + codes + `]}}]`
	}
	const stays = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
	const isNot = "status.initContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
	for _, u := range []update{
		{"nothing", `{}`, `{}`, nil},
		{"a phase", `{status: {phase: Pending}}`, `{status: {phase: Running}}`, nil},
		{"a node", `{}`, `{spec: {nodeName: node}}`, []string{"status.nodeName: Forbidden: may not be changed directly"}},
		{"another class", `{status: {qosClass: BestEffort}}`, `{status: {qosClass: Burstable}}`,
			[]string{`status.qosClass: Invalid value: "Burstable": field is immutable`}},
		{"a negative generation", `{}`, `{status: {observedGeneration: -1, conditions: [{type: Ready, observedGeneration: -1}]}}`, []string{
			"status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
			"status.observedGeneration: Invalid value: -1: must be a non-negative integer"}},
		{"a condition of a name", `{}`, `{status: {conditions: [{type: Ready}, {type: example.com/x}]}}`, nil},
		{"a condition of no name", `{}`, `{status: {conditions: [{type: a b}]}}`, []string{`status.conditions[0].Type: Invalid value: "a b": name part must consist of…`}},

		{"a nomination", `{}`, `{status: {nominatedNodeName: node}}`, nil},
		{"an end of a nomination", `{status: {nominatedNodeName: node}}`, `{}`, nil},
		{"a nomination of no name", `{}`, `{status: {nominatedNodeName: a_b}}`, []string{`status.nominatedNodeName: Invalid value: "a_b": a lowercase RFC 1123 subdomain…`}},
		{"a nomination of a placed pod", `{spec: {nodeName: node}}`, `{spec: {nodeName: node}, status: {nominatedNodeName: other}}`,
			[]string{"status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"}},

		{"a restart", policy("Always", done), policy("Always", running), nil},
		{"a restart on failure", policy("OnFailure", failed), policy("OnFailure", running), nil},
		{"a restart on success", policy("OnFailure", done), policy("OnFailure", running), []string{stays}},
		{"a restart of what never does", policy("Never", failed), policy("Never", running), []string{stays}},
		{"another end", policy("Never", failed), policy("Never", done), nil},
		{"a status less", policy("Never", failed), `{spec: {restartPolicy: Never}}`, nil},
		{"a restart by a container's own policy", one("restartPolicy: Always", done), one("restartPolicy: Always", running), nil},
		{"no restart by a container's own policy", one("restartPolicy: OnFailure", done), one("restartPolicy: OnFailure", running), []string{stays}},
		{"a restart by a rule", one(rule("In", "3"), failed), one(rule("In", "3"), running), nil},
		{"no restart by a rule", one(rule("In", "4"), failed), one(rule("In", "4"), running), []string{stays}},
		{"a restart by a rule of others", one(rule("NotIn", "4"), failed), one(rule("NotIn", "4"), running), nil},
		{"no restart by a rule of others", one(rule("NotIn", "3"), failed), one(rule("NotIn", "3"), running), []string{stays}},
		{"a rule without codes says nothing", one("restartPolicy: Never, restartPolicyRules: [{action: Restart}]", failed),
			one("restartPolicy: Never, restartPolicyRules: [{action: Restart}]", running), []string{stays}},
		{"a restart of all", one("restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers}]", failed),
			one("restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers}]", running), nil},
		{"a restart of a sidecar", initial("restartPolicy: Always", done), initial("restartPolicy: Always", running), nil},
		{"a restart of an init container", initial("", failed), initial("", running), []string{isNot}},
		{"a restart of a container for debugging",
			`{status: {ephemeralContainerStatuses: [{name: e, ` + done + `}]}}`, `{status: {ephemeralContainerStatuses: [{name: e, ` + running + `}]}}`,
			[]string{"status.ephemeralContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"}},

		{"an address", `{}`, `{status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]}}`, nil},
		{"an address of each family", `{}`, `{status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}}`, nil},
		{"two of a family", `{}`, `{status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]}}`,
			[]string{`status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family`}},
		{"an address without a list is the list", `{}`, `{status: {podIP: 10.0.0.1}}`, nil},
		{"a list without an address has the address", `{}`, `{status: {podIPs: [{ip: 10.0.0.1}]}}`, nil},
		{"an address wins over the list", `{}`, `{status: {podIP: x, podIPs: [{ip: 10.0.0.2}]}}`,
			[]string{`status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"no address", `{}`, `{status: {podIP: x, podIPs: [{ip: x}]}}`,
			[]string{`status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"a host's address beside the list", `{}`, `{status: {hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.2}]}}`,
			[]string{"status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"}},
		{"a host's addresses", `{}`, `{status: {hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}}`, nil},

		{"a claim's status", `{}`, `{spec: {resourceClaims: [{name: r, resourceClaimTemplateName: x}]}, status: {resourceClaimStatuses: [{name: r, resourceClaimName: x}]}}`, nil},
		{"statuses of no claims", `{}`, `{status: {resourceClaimStatuses: [{name: r}, {name: r, resourceClaimName: a_b}]}}`, []string{
			"status.resourceClaimStatuses[0].name: Invalid value: \"r\": must match the name of an entry in `spec.resourceClaims`",
			"status.resourceClaimStatuses[1].name: Invalid value: \"r\": must match the name of an entry in `spec.resourceClaims`",
			`status.resourceClaimStatuses[1].name: Duplicate value: "r"`,
			`status.resourceClaimStatuses[1].resourceClaimName: Invalid value: "a_b": a lowercase RFC 1123 subdomain…`}},
		{"a claim for extended resources", `{}`, `{spec: {containers: [{name: c, image: i, resources: {limits: {example.com/gpu: 1}}}]},
			status: {extendedResourceClaimStatus: {resourceClaimName: x, requestMappings: [{containerName: c, resourceName: example.com/gpu, requestName: r}]}}}`, nil},
		{"a claim for nothing", `{}`, `{status: {extendedResourceClaimStatus: {}}}`, []string{
			"status.extendedResourceClaimStatus.requestMappings: Required value: at least one request mapping is required",
			"status.extendedResourceClaimStatus.resourceClaimName: Required value"}},
		{"a claim for others", `{}`, `{status: {extendedResourceClaimStatus: {resourceClaimName: x, requestMappings: [
			{containerName: x, resourceName: r, requestName: r}, {containerName: x, resourceName: r, requestName: r}, {containerName: c, resourceName: r, requestName: R}]}}}`, []string{
			`status.extendedResourceClaimStatus.requestMappings[0].containerName: Invalid value: "x": must match the name of an entry in spec.initContainers.name or spec.containers.name`,
			`status.extendedResourceClaimStatus.requestMappings[1].containerName: Invalid value: "x": must match the name of an entry in spec.initContainers.name or spec.containers.name`,
			`status.extendedResourceClaimStatus.requestMappings[1].containerName: Duplicate value: "x"`,
			`status.extendedResourceClaimStatus.requestMappings[1].resourceName: Duplicate value: "r"`,
			`status.extendedResourceClaimStatus.requestMappings[1].requestName: Duplicate value: "r"`,
			`status.extendedResourceClaimStatus.requestMappings[2].resourceName: Invalid value: "r": must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests`,
			`status.extendedResourceClaimStatus.requestName: Invalid value: "R": a lowercase RFC 1123 label…`}},

		{"a user", `{}`, `{status: {containerStatuses: [{name: c, user: {linux: {uid: 4294967295, gid: 0, supplementalGroups: [1]}}}]}}`, nil},
		{"users who cannot be", `{}`, `{status: {containerStatuses: [{name: c, user: {linux: {uid: -1, gid: -1, supplementalGroups: [-1]}}}]}}`, []string{
			"status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 4294967295, inclusive",
			"status.containerStatuses[0].user.linux.gid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
		{"a user of Linux on Windows", `{}`, `{spec: {os: {name: windows}}, status: {containerStatuses: [{name: c, user: {linux: {uid: 1, gid: 1}}}]}}`,
			[]string{"status.containerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod"}},

		{"a device's health", `{}`, `{spec: {containers: [{name: c, image: i, resources: {limits: {example.com/gpu: 1}}}]},
			status: {containerStatuses: [{name: c, allocatedResourcesStatus: [{name: example.com/gpu, resources: [{resourceID: a, health: Healthy}, {resourceID: b, health: Unknown}]}]}]}}`, nil},
		{"no health", `{}`, `{spec: {containers: [{name: c, image: i, resources: {limits: {example.com/gpu: 1}}}]},
			status: {containerStatuses: [{name: c, allocatedResourcesStatus: [{name: example.com/gpu, resources: [{resourceID: a, health: Fine}, {resourceID: a, health: Unhealthy}]}]}]}}`, []string{
			`status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Fine": supported values: "Healthy", "Unhealthy", "Unknown"`,
			`status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a"`}},
		{"the health of no device", `{}`, `{status: {containerStatuses: [{name: c, allocatedResourcesStatus: [{name: example.com/gpu}, {name: "claim:x"}]}]}}`, []string{
			`status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/gpu": must match one of the container's resource requests`,
			`status.containerStatuses[0].allocatedResourcesStatus[1].name: Invalid value: "claim:x": must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty`}},
		{"the health of a claim", `{}`, `{spec: {resourceClaims: [{name: x, resourceClaimName: x}], containers: [{name: c, image: i, resources: {claims: [{name: x}, {name: z, request: r}]}}]},
			status: {containerStatuses: [{name: c, allocatedResourcesStatus: [{name: "claim:x"}, {name: "claim:z/r"}]}]}}`, nil},
		{"the health of an extended resource's claim", `{}`, `{spec: {containers: [{name: c, image: i, resources: {limits: {example.com/gpu: 1}}}]}, status: {
			extendedResourceClaimStatus: {resourceClaimName: x, requestMappings: [{containerName: c, resourceName: example.com/gpu, requestName: r}]},
			containerStatuses: [{name: c, allocatedResourcesStatus: [{name: "claim:x/r"}]}]}}`, nil},
		{"the health of a debugging container", `{}`, `{status: {ephemeralContainerStatuses: [{name: e, allocatedResourcesStatus: [{name: x}]}]}}`,
			[]string{"status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"}},
		{"an image's mount without an image", `{}`, `{status: {containerStatuses: [{name: c, volumeMounts: [{name: v, mountPath: /v, volumeStatus: {image: {imageRef: ""}}}]}]}}`,
			[]string{"status.containerStatuses[0].volumeMounts[0].volumeStatus.imageVolumeStatus.imageRef: Required value: imageRef must not be empty"}},
	} {
		t.Run(u.name, func(t *testing.T) {
			same(t, texts(core.ValidatePodStatusUpdate(pod(t, u.is), pod(t, u.was))), u.want)
		})
	}
}

func TestPreparePodStatus(t *testing.T) {
	for _, c := range []struct{ name, was, is, becomes string }{
		{"what agents leave out stays", `{status: {qosClass: Burstable, observedGeneration: 3, resourceClaimStatuses: [{name: r}], extendedResourceClaimStatus: {resourceClaimName: x}}}`, `{}`,
			`{status: {qosClass: Burstable, observedGeneration: 3, resourceClaimStatuses: [{name: r}], extendedResourceClaimStatus: {resourceClaimName: x}}}`},
		{"what they say is right", `{status: {observedGeneration: 3}}`, `{status: {observedGeneration: 4}}`, `{status: {observedGeneration: 4}}`},
		{"conditions keep their generation", `{status: {conditions: [{type: Ready, observedGeneration: 2}]}}`, `{status: {conditions: [{type: Other}, {type: Ready}]}}`,
			`{status: {conditions: [{observedGeneration: null}, {observedGeneration: 2}]}}`},
		{"an address makes a list", `{}`, `{status: {podIP: 10.0.0.1, hostIP: 10.0.0.2}}`, `{status: {podIPs: [{ip: 10.0.0.1}]}}`},
		{"a list makes an address", `{}`, `{status: {podIPs: [{ip: 10.0.0.1}]}}`, `{status: {podIP: 10.0.0.1}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, c.is)
			podKind.Status.PrepareUpdate(p, pod(t, c.was))
			contains(t, p, c.becomes)
		})
	}
}

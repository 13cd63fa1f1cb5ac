package core_test

import (
	"fmt"
	"strings"
	"testing"
)

const (
	labelMsg = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	subMsg   = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
)

func TestContainersOfAPod(t *testing.T) {
	checkRows(t, []row{
		{"a pod needs a container", `{containers: []}`, []string{"spec.containers: Required value"}},
		{"a container needs a name", `{containers: [{image: i}]}`, []string{"spec.containers[0].name: Required value"}},
		{"a container's name is a label", `{containers: [{name: A_b, image: i}]}`,
			[]string{`spec.containers[0].name: Invalid value: "A_b": ` + labelMsg}},
		{"a container needs an image", `{containers: [{name: c}]}`, []string{"spec.containers[0].image: Required value"}},
		{"an image has no blanks around it", `{containers: [{name: c, image: " i"}]}`,
			[]string{`spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace`}},
		{"names of containers are unique", `{containers: [{name: c, image: i}, {name: c, image: i}]}`,
			[]string{`spec.containers[1].name: Duplicate value: "c"`}},
		{"an init container may not have a container's name", `{initContainers: [{name: c, image: i}]}`,
			[]string{`spec.initContainers[0].name: Duplicate value: "c"`}},
		{"an ephemeral container may not have a container's name", `{ephemeralContainers: [{name: c, image: i}]}`,
			[]string{`spec.ephemeralContainers[0].name: Duplicate value: "c"`, `spec.ephemeralContainers: Forbidden: cannot be set on create`}},
		{"two containers may not have one host port", `{containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 80}]}, {name: b, image: i, ports: [{containerPort: 2, hostPort: 80}]}]}`,
			[]string{`spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"`}},
		{"two containers may have one host port with two protocols", `{containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 80}]}, {name: b, image: i, ports: [{containerPort: 2, hostPort: 80, protocol: UDP}]}]}`, nil},
		{"two init containers may have one host port", `{initContainers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 80}]}, {name: b, image: i, ports: [{containerPort: 2, hostPort: 80}]}]}`, nil},
		{"in the host's network host and container port are the same", `{hostNetwork: true, containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 80}]}]}`,
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value: 80: must match `containerPort` when `hostNetwork` is true"}},
	}, asSpec)
}

func TestContainer(t *testing.T) {
	checkRows(t, []row{
		{"nothing more is needed", `{}`, nil},
		{"the policy for termination messages is known", `{terminationMessagePolicy: Mail}`,
			[]string{`spec.containers[0].terminationMessagePolicy: Unsupported value: "Mail": supported values: "File", "FallbackToLogsOnError"`}},
		{"the pull policy is known", `{imagePullPolicy: Sometimes}`,
			[]string{`spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`}},
		{"a port has a number", `{ports: [{name: web}]}`, []string{"spec.containers[0].ports[0].containerPort: Required value"}},
		{"a port's number is in range", `{ports: [{containerPort: 70000}]}`,
			[]string{"spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
		{"a host port's number is in range", `{ports: [{containerPort: 1, hostPort: -1}]}`,
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive"}},
		{"a port's protocol is known", `{ports: [{containerPort: 1, protocol: ICMP}]}`,
			[]string{`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		{"a port's name is short", `{ports: [{containerPort: 1, name: this-is-a-long-name}]}`,
			[]string{`spec.containers[0].ports[0].name: Invalid value: "this-is-a-long-name": must be no more than 15 characters`}},
		{"names of ports are unique", `{ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]}`,
			[]string{`spec.containers[0].ports[1].name: Duplicate value: "a"`}},
		{"a resize policy names processors or memory", `{resizePolicy: [{resourceName: disk, restartPolicy: NotRequired}]}`,
			[]string{`spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"`}},
		{"a resize policy is known", `{resizePolicy: [{resourceName: cpu, restartPolicy: Never}]}`,
			[]string{`spec.containers[0].resizePolicy: Unsupported value: "Never": supported values: "NotRequired", "RestartContainer"`}},
		{"a resource has one resize policy", `{resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: NotRequired}]}`,
			[]string{`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`}},
		{"a restart policy of a container is known", `{restartPolicy: Maybe}`,
			[]string{`spec.containers[0].restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`}},
		{"rules need a restart policy", `{restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}`,
			[]string{"spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"}},
		{"a rule needs exit codes", `{restartPolicy: Never, restartPolicyRules: [{action: Restart}]}`,
			[]string{"spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"}},
		{"a rule's action is known", `{restartPolicy: Never, restartPolicyRules: [{action: Stop, exitCodes: {operator: In, values: [1]}}]}`,
			[]string{`spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"`}},
		{"a rule's operator is known", `{restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: Is, values: [1]}}]}`,
			[]string{`spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"`}},
		{"rules are few", `{restartPolicy: Never, restartPolicyRules: [` + strings.Repeat("{action: Restart, exitCodes: {operator: In, values: [1]}},", 21) + `]}`,
			[]string{"spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items"}},
	}, asContainer)
}

func TestInitContainer(t *testing.T) {
	checkRows(t, []row{
		{"nothing more is needed", `}`, nil},
		{"a sidecar may have probes and hooks", `restartPolicy: Always, livenessProbe: {exec: {command: [a]}}, readinessProbe: {exec: {command: [a]}}, startupProbe: {exec: {command: [a]}}, lifecycle: {preStop: {exec: {command: [a]}}}}`, nil},
		{"one that ends has no hooks", `lifecycle: {preStop: {exec: {command: [a]}}}}`,
			[]string{"spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"one that ends has no liveness probe", `livenessProbe: {exec: {command: [a]}}}`,
			[]string{"spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"one that ends has no readiness probe", `readinessProbe: {exec: {command: [a]}}}`,
			[]string{"spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"one that ends has no startup probe", `startupProbe: {exec: {command: [a]}}}`,
			[]string{"spec.initContainers[0].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"a sidecar's probe is checked", `restartPolicy: Always, livenessProbe: {}}`,
			[]string{"spec.initContainers[0].livenessProbe: Required value: must specify a handler type"}},
		{"one that ends is not restarted by a resize", `resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}`,
			[]string{`spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must not be set to 'RestartContainer' for non-sidecar initContainers`}},
		{"a sidecar may be restarted by a resize", `restartPolicy: Always, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}`, nil},
		{"its image has no blanks around it", `image: "i "}`,
			[]string{`spec.initContainers[0].image: Invalid value: "i ": must not have leading or trailing whitespace`}},
	}, func(text string) string {
		if strings.Contains(text, "image:") {
			return "{initContainers: [{name: init, " + text + "]}"
		}
		return asInit(text)
	})
}

func TestEphemeralContainer(t *testing.T) {
	const onCreate = "spec.ephemeralContainers: Forbidden: cannot be set on create"
	why := func(f string) string {
		return fmt.Sprintf("spec.ephemeralContainers[0].%s: Forbidden: cannot be set for an Ephemeral Container", f)
	}
	checkRows(t, []row{
		{"one may be there with a target", `targetContainerName: c}`, []string{onCreate}},
		{"its target must be there", `targetContainerName: x}`, []string{`spec.ephemeralContainers[0].targetContainerName: Not found: "x"`, onCreate}},
		{"it has no ports", `ports: [{containerPort: 1}]}`, []string{why("ports"), onCreate}},
		{"it has no resources", `resources: {limits: {cpu: 1}}}`, []string{why("resources"), onCreate}},
		{"it has no probes", `livenessProbe: {exec: {command: [a]}}}`, []string{why("livenessProbe"), onCreate}},
		{"it has no hooks", `lifecycle: {preStop: {exec: {command: [a]}}}}`, []string{why("lifecycle"), onCreate}},
		{"it has no restart policy", `restartPolicy: Always}`, []string{why("restartPolicy"), onCreate}},
		{"it mounts whole volumes", `volumeMounts: [{name: v, mountPath: /m, subPath: s}]}`,
			[]string{why("volumeMounts[0].subPath"), onCreate}},
		{"it mounts whole volumes, by expression too", `volumeMounts: [{name: v, mountPath: /m, subPathExpr: s}]}`,
			[]string{why("volumeMounts[0].subPathExpr"), onCreate}},
	}, func(text string) string {
		return "{volumes: [{name: v}], ephemeralContainers: [{name: e, image: i, " + text + "]}"
	})
}

func TestEnvironment(t *testing.T) {
	const env = "spec.containers[0].env[0]"
	checkRows(t, []row{
		{"a variable needs a name", `{env: [{value: x}]}`, []string{env + ".name: Required value"}},
		{"a name may have nearly any character", `{env: [{name: "a b-c.d/é"}]}`,
			[]string{env + `.name: Invalid value: "a b-c.d/é": a valid environment variable name must consist only of printable ASCII characters other than '='`}},
		{"a name has no equals sign", `{env: [{name: "a=b"}]}`,
			[]string{env + `.name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='`}},
		{"a value comes from somewhere", `{env: [{name: a, valueFrom: {}}]}`,
			[]string{env + ".valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"}},
		{"a value comes from one place", `{env: [{name: a, valueFrom: {configMapKeyRef: {name: m, key: k}, secretKeyRef: {name: s, key: k}}}]}`,
			[]string{env + `.valueFrom: Invalid value: "": may not have more than one field specified at a time`}},
		{"a value is given or comes from somewhere", `{env: [{name: a, value: x, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}`,
			[]string{env + ".valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"}},
		{"a reference to a ConfigMap has a key", `{env: [{name: a, valueFrom: {configMapKeyRef: {name: m}}}]}`,
			[]string{env + ".valueFrom.configMapKeyRef.key: Required value"}},
		{"a reference to a Secret has a name", `{env: [{name: a, valueFrom: {secretKeyRef: {key: k}}}]}`,
			[]string{env + `.valueFrom.secretKeyRef.name: Invalid value: "": ` + subMsg}},
		{"a key has few characters", `{env: [{name: a, valueFrom: {secretKeyRef: {name: s, key: "a b"}}}]}`,
			[]string{env + `.valueFrom.secretKeyRef.key: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`}},
		{"a field of the pod is shown", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}`, nil},
		{"a label of the pod is shown", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}]}`, nil},
		{"an annotation with capitals is shown", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['Example.com/App']"}}}]}`, nil},
		{"a label's key is valid", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.labels['a/b/c']"}}}]}`,
			[]string{env + `.valueFrom.fieldRef: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`}},
		{"a field has to be there", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: spec.color}}}]}`,
			[]string{env + `.valueFrom.fieldRef.fieldPath: Invalid value: "spec.color": error converting fieldPath: field label not supported: spec.color`}},
		{"only maps have keys", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.name['x']"}}}]}`,
			[]string{env + `.valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name['x']": error converting fieldPath: field label does not support subscript: metadata.name['x']`}},
		{"all labels do not fit into a variable", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]}`,
			[]string{env + `.valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`}},
		{"the fields are those of v1", `{env: [{name: a, valueFrom: {fieldRef: {apiVersion: v2, fieldPath: metadata.name}}}]}`,
			[]string{env + `.valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v2`}},
		{"a path of a field is needed", `{env: [{name: a, valueFrom: {fieldRef: {}}}]}`, []string{env + ".valueFrom.fieldRef.fieldPath: Required value"}},
		{"an old name of a field is known", `{env: [{name: a, valueFrom: {fieldRef: {fieldPath: spec.host}}}]}`, nil},
		{"a limit is shown", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}]}`, nil},
		{"a limit of huge pages is shown", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi, divisor: 1Mi}}}]}`, nil},
		{"a resource is needed", `{env: [{name: a, valueFrom: {resourceFieldRef: {}}}]}`, []string{env + ".valueFrom.resourceFieldRef.resource: Required value"}},
		{"a resource is known", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.disk}}}]}`,
			[]string{env + `.valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`}},
		{"processors are counted whole or by thousandths", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1k}}}]}`,
			[]string{env + `.valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource`}},
		{"memory is counted by known units", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 2}}}]}`,
			[]string{env + `.valueFrom.resourceFieldRef.divisor: Invalid value: "requests.memory": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource`}},
		{"storage is counted by known units", `{env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1m}}}]}`,
			[]string{env + `.valueFrom.resourceFieldRef.divisor: Invalid value: "limits.ephemeral-storage": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource`}},
		{"a file of an emptyDir is read", `{env: [{name: a, valueFrom: {fileKeyRef: {volumeName: v, path: env, key: A}}}]}`, nil},
		{"a file of another volume is not read", `{env: [{name: a, valueFrom: {fileKeyRef: {volumeName: claim, path: env, key: A}}}]}`,
			[]string{env + `.valueFrom.fileKeyRef.volumeName: Invalid value: "claim": referenced volume must be of type emptyDir`}},
		{"a file's volume is there", `{env: [{name: a, valueFrom: {fileKeyRef: {volumeName: x, path: env, key: A}}}]}`,
			[]string{env + `.valueFrom.fileKeyRef.volumeName: Not found: "x"`}},
		{"a file's path does not go up", `{env: [{name: a, valueFrom: {fileKeyRef: {volumeName: v, path: ../env, key: A}}}]}`,
			[]string{env + `.valueFrom.fileKeyRef.path: Invalid value: "../env": must not contain '..'`}},
		{"many variables come from one place", `{envFrom: [{configMapRef: {name: m}}, {secretRef: {name: s}, prefix: p.}]}`, nil},
		{"many variables come from somewhere", `{envFrom: [{}]}`,
			[]string{"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"}},
		{"many variables come from one place only", `{envFrom: [{configMapRef: {name: m}, secretRef: {name: s}}]}`,
			[]string{`spec.containers[0].envFrom: Invalid value: "": may not have more than one field specified at a time`}},
		{"a source of variables has a name", `{envFrom: [{configMapRef: {}}]}`, []string{"spec.containers[0].envFrom[0].configMapRef.name: Required value"}},
		{"a prefix of variables is valid", `{envFrom: [{prefix: "a=", configMapRef: {name: m}}]}`,
			[]string{`spec.containers[0].envFrom[0].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than '='`}},
	}, asContainer)
}

func TestProbesAndHooks(t *testing.T) {
	const c = "spec.containers[0]"
	checkRows(t, []row{
		{"all kinds of probes", `{livenessProbe: {httpGet: {port: 80}}, readinessProbe: {tcpSocket: {port: web}}, startupProbe: {grpc: {port: 9000}}}`, nil},
		{"a probe does something", `{livenessProbe: {}}`, []string{c + ".livenessProbe: Required value: must specify a handler type"}},
		{"a probe does one thing", `{livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}}`,
			[]string{c + ".livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"}},
		{"a command is needed", `{livenessProbe: {exec: {}}}`, []string{c + ".livenessProbe.exec.command: Required value"}},
		{"a port is a number in range", `{livenessProbe: {tcpSocket: {port: 0}}}`,
			[]string{c + ".livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"a port is a name", `{livenessProbe: {tcpSocket: {port: "A"}}}`,
			[]string{c + `.livenessProbe.tcpSocket.port: Invalid value: "A": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`, c + `.livenessProbe.tcpSocket.port: Invalid value: "A": must contain at least one letter (a-z)`}},
		{"a scheme is known", `{livenessProbe: {httpGet: {port: 80, scheme: FTP}}}`,
			[]string{c + `.livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`}},
		{"a header's name is valid", `{livenessProbe: {httpGet: {port: 80, httpHeaders: [{name: "a b", value: x}]}}}`,
			[]string{c + `.livenessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')`}},
		{"times are not negative", `{livenessProbe: {exec: {command: [a]}, initialDelaySeconds: -1, periodSeconds: -2}}`,
			[]string{c + ".livenessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0", c + ".livenessProbe.periodSeconds: Invalid value: -2: must be greater than or equal to 0"}},
		{"liveness is decided by one success", `{livenessProbe: {exec: {command: [a]}, successThreshold: 2}}`,
			[]string{c + ".livenessProbe.successThreshold: Invalid value: 2: must be 1"}},
		{"start is decided by one success", `{startupProbe: {exec: {command: [a]}, successThreshold: 2}}`,
			[]string{c + ".startupProbe.successThreshold: Invalid value: 2: must be 1"}},
		{"readiness may want more successes", `{readinessProbe: {exec: {command: [a]}, successThreshold: 2}}`, nil},
		{"readiness ends nothing", `{readinessProbe: {exec: {command: [a]}, terminationGracePeriodSeconds: 5}}`,
			[]string{c + ".readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"}},
		{"a probe's grace is positive", `{livenessProbe: {exec: {command: [a]}, terminationGracePeriodSeconds: 0}}`,
			[]string{c + ".livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0"}},
		{"hooks", `{lifecycle: {postStart: {exec: {command: [a]}}, preStop: {sleep: {seconds: 5}}}}`, nil},
		{"a hook does something", `{lifecycle: {preStop: {}}}`, []string{c + ".lifecycle.preStop: Required value: must specify a handler type"}},
		{"a sleep is no longer than the pod has", `{lifecycle: {preStop: {sleep: {seconds: 31}}}}`,
			[]string{c + ".lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"}},
		{"a sleep of no time is fine", `{lifecycle: {preStop: {sleep: {seconds: 0}}}}`, nil},
		{"a signal needs to know the system", `{lifecycle: {stopSignal: SIGTERM}}`,
			[]string{c + ".lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"}},
	}, asContainer)
	checkRows(t, []row{
		{"Linux has many signals", `{os: {name: linux}, containers: [{name: c, image: i, lifecycle: {stopSignal: SIGRTMIN+3}}]}`, nil},
		{"Windows has two signals", `{os: {name: windows}, containers: [{name: c, image: i, lifecycle: {stopSignal: SIGHUP}}]}`,
			[]string{`spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGHUP": supported values: "SIGKILL", "SIGTERM"`}},
		{"Linux does not have every signal", `{os: {name: linux}, containers: [{name: c, image: i, lifecycle: {stopSignal: SIGNAL}}]}`,
			[]string{`spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGNAL": supported values: "SIGABRT", "SIGALRM"…`}},
	}, asSpec)
}

func TestMountsAndDevices(t *testing.T) {
	const m, d = "spec.containers[0].volumeMounts", "spec.containers[0].volumeDevices"
	checkRows(t, []row{
		{"a volume is mounted", `{volumeMounts: [{name: v, mountPath: /m, subPath: a/b}]}`, nil},
		{"a mount has a name", `{volumeMounts: [{mountPath: /m}]}`, []string{m + "[0].name: Required value", m + `[0].name: Not found: ""`}},
		{"a mount's volume is there", `{volumeMounts: [{name: x, mountPath: /m}]}`, []string{m + `[0].name: Not found: "x"`}},
		{"a mount has a path", `{volumeMounts: [{name: v}]}`, []string{m + "[0].mountPath: Required value"}},
		{"a path is mounted once", `{volumeMounts: [{name: v, mountPath: /m}, {name: img, mountPath: /m}]}`, []string{m + `[1].mountPath: Invalid value: "/m": must be unique`}},
		{"a part of a volume is inside it", `{volumeMounts: [{name: v, mountPath: /m, subPath: ../x}]}`, []string{m + `.subPath: Invalid value: "../x": must not contain '..'`}},
		{"a part of a volume has no absolute path", `{volumeMounts: [{name: v, mountPath: /m, subPath: /x}]}`, []string{m + `.subPath: Invalid value: "/x": must be a relative path`}},
		{"a part is named in one way", `{volumeMounts: [{name: v, mountPath: /m, subPath: a, subPathExpr: $(A)}]}`,
			[]string{m + `[0].subPathExpr: Invalid value: "$(A)": subPathExpr and subPath are mutually exclusive`}},
		{"only the privileged show their mounts", `{volumeMounts: [{name: v, mountPath: /m, mountPropagation: Bidirectional}]}`,
			[]string{m + ".mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"}},
		{"the privileged show their mounts", `{securityContext: {privileged: true}, volumeMounts: [{name: v, mountPath: /m, mountPropagation: Bidirectional}]}`, nil},
		{"propagation is known", `{volumeMounts: [{name: v, mountPath: /m, mountPropagation: Both}]}`,
			[]string{m + `.mountPropagation: Unsupported value: "Both": supported values: "Bidirectional", "HostToContainer", "None"`}},
		{"recursively read-only is read-only", `{volumeMounts: [{name: v, mountPath: /m, recursiveReadOnly: Enabled}]}`,
			[]string{m + ".recursiveReadOnly: Forbidden: may only be specified when readOnly is true"}},
		{"recursively read-only does not propagate", `{volumeMounts: [{name: v, mountPath: /m, readOnly: true, recursiveReadOnly: IfPossible, mountPropagation: HostToContainer}]}`,
			[]string{m + ".recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified"}},
		{"recursively read-only is known", `{volumeMounts: [{name: v, mountPath: /m, recursiveReadOnly: "Yes"}]}`,
			[]string{m + `.recursiveReadOnly: Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible"`}},
		{"a claim is a device", `{volumeDevices: [{name: claim, devicePath: /dev/x}]}`, nil},
		{"a directory is no device", `{volumeDevices: [{name: v, devicePath: /dev/x}]}`,
			[]string{d + `[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`}},
		{"a device's volume is there", `{volumeDevices: [{name: x, devicePath: /dev/x}]}`, []string{d + `[0].name: Not found: "x"`}},
		{"a device has a path", `{volumeDevices: [{name: claim}]}`, []string{d + "[0].devicePath: Required value"}},
		{"a device's path does not go up", `{volumeDevices: [{name: claim, devicePath: /dev/../x}]}`, []string{d + `[0].devicePath: Invalid value: "/dev/../x": can not contain backsteps ('..')`}},
		{"a volume is one device", `{volumeDevices: [{name: claim, devicePath: /dev/x}, {name: claim, devicePath: /dev/x}]}`,
			[]string{d + `[1].name: Invalid value: "claim": must be unique`, d + `[1].devicePath: Invalid value: "/dev/x": must be unique`}},
		{"a volume is a device or a directory", `{volumeMounts: [{name: claim, mountPath: /x}], volumeDevices: [{name: claim, devicePath: /x}]}`,
			[]string{
				m + `[0].name: Invalid value: "claim": must not already exist in volumeDevices`,
				m + `[0].mountPath: Invalid value: "/x": must not already exist as a path in volumeDevices`,
				d + `[0].name: Invalid value: "claim": must not already exist in volumeMounts`,
				d + `[0].devicePath: Invalid value: "/x": must not already exist as a path in volumeMounts`,
			}},
	}, asContainer)
}

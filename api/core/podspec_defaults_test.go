package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"sigs.k8s.io/yaml"

	"github.com/skiffcluster/skiff/api/core"
)

// change is a case of a table: an object, and what becomes of it.
type change struct{ name, is, becomes string }

// contains fails unless all that want says is in got. Lists are compared as a
// whole.
func contains(t *testing.T, got any, want string) {
	t.Helper()
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	has, wants := map[string]any{}, map[string]any{}
	decode(t, string(text), &has)
	decode(t, want, &wants)
	if !includes(has, wants) {
		t.Errorf("Got\n%s\nwithout %s", text, want)
	}
}

func includes(has, wants any) bool {
	switch w := wants.(type) {
	case map[string]any:
		h, ok := has.(map[string]any)
		for key, value := range w {
			ok = ok && includes(h[key], value)
		}
		return ok || len(w) == 0
	case []any:
		h, ok := has.([]any)
		if !ok || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !includes(h[i], w[i]) {
				return false
			}
		}
		return true
	default:
		return equal(has, wants)
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []change{
		{"a template has what containers need", `{containers: [{name: c, image: i}]}`, `{
			dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {},
			terminationGracePeriodSeconds: 30, enableServiceLinks: null,
			containers: [{imagePullPolicy: Always, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]}`},
		{"what is said stays", `{dnsPolicy: None, restartPolicy: Never, schedulerName: s, terminationGracePeriodSeconds: 0,
			containers: [{name: c, imagePullPolicy: Never, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]}`, `{
			dnsPolicy: None, restartPolicy: Never, schedulerName: s, terminationGracePeriodSeconds: 0,
			containers: [{imagePullPolicy: Never, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]}`},
		{"an account has its old name too", `{serviceAccountName: a}`, `{serviceAccountName: a, serviceAccount: a}`},
		{"an account may come by its old name", `{serviceAccount: a}`, `{serviceAccountName: a, serviceAccount: a}`},
		{"of two accounts the newer name is right", `{serviceAccount: b, serviceAccountName: a}`, `{serviceAccountName: a, serviceAccount: a}`},
		{"images are pulled again when they may change",
			`{containers: [{image: a}, {image: "a:latest"}, {image: "a:1"}, {image: "h:5000/a"}, {image: "h:5000/a:1"}, {image: A b}, {image: "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}]}`,
			`{containers: [{imagePullPolicy: Always}, {imagePullPolicy: Always}, {imagePullPolicy: IfNotPresent}, {imagePullPolicy: Always}, {imagePullPolicy: IfNotPresent}, {imagePullPolicy: IfNotPresent}, {imagePullPolicy: IfNotPresent}]}`},
		{"containers of all sorts have defaults",
			`{initContainers: [{image: "a:1"}], ephemeralContainers: [{image: "a:1", ports: [{containerPort: 1}]}]}`,
			`{initContainers: [{imagePullPolicy: IfNotPresent}], ephemeralContainers: [{imagePullPolicy: IfNotPresent, ports: [{protocol: TCP}]}]}`},
		{"ports are of TCP", `{containers: [{ports: [{containerPort: 1}, {containerPort: 1, protocol: UDP}]}]}`,
			`{containers: [{ports: [{protocol: TCP}, {protocol: UDP}]}]}`},
		{"a template's ports are not the host's", `{hostNetwork: true, containers: [{ports: [{containerPort: 1}]}]}`,
			`{containers: [{ports: [{hostPort: null}]}]}`},
		{"probes have a pace", `{containers: [{livenessProbe: {httpGet: {port: 1}}, readinessProbe: {grpc: {port: 1}}, startupProbe: {tcpSocket: {port: 1}, periodSeconds: 2}}]}`,
			`{containers: [{
				livenessProbe: {httpGet: {path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3},
				readinessProbe: {grpc: {service: ""}, timeoutSeconds: 1}, startupProbe: {periodSeconds: 2}}]}`},
		{"hooks have a path", `{containers: [{lifecycle: {postStart: {httpGet: {port: 1}}, preStop: {httpGet: {port: 1, path: /x, scheme: HTTPS}}}}]}`,
			`{containers: [{lifecycle: {postStart: {httpGet: {path: /, scheme: HTTP}}, preStop: {httpGet: {path: /x, scheme: HTTPS}}}}]}`},
		{"a field is one of v1", `{containers: [{env: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`,
			`{containers: [{env: [{valueFrom: {fieldRef: {apiVersion: v1}}}]}]}`},
		{"a file of variables is needed", `{containers: [{env: [{name: a, valueFrom: {fileKeyRef: {key: k, path: p, volumeName: v}}}]}]}`,
			`{containers: [{env: [{valueFrom: {fileKeyRef: {optional: false}}}]}]}`},
		{"amounts are of thousandths", `{containers: [{resources: {limits: {cpu: "0.0001"}, requests: {cpu: 100u}}}], overhead: {cpu: 1u}, resources: {limits: {cpu: 1n}, requests: {cpu: 1n}}}`,
			`{containers: [{resources: {limits: {cpu: 1m}, requests: {cpu: 1m}}}], overhead: {cpu: 1m}, resources: {limits: {cpu: 1m}, requests: {cpu: 1m}}}`},
		{"a template does not request its limits", `{containers: [{resources: {limits: {cpu: 1}}}]}`, `{containers: [{resources: {requests: null}}]}`},
		{"a volume of nothing is an empty directory", `{volumes: [{name: v}]}`, `{volumes: [{emptyDir: {}}]}`},
		{"volumes have modes",
			`{volumes: [{secret: {}}, {configMap: {}}, {downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}, {projected: {}}, {secret: {defaultMode: 0}}]}`,
			`{volumes: [{secret: {defaultMode: 420}}, {configMap: {defaultMode: 420}}, {downwardAPI: {defaultMode: 420, items: [{fieldRef: {apiVersion: v1}}]}}, {projected: {defaultMode: 420}}, {secret: {defaultMode: 0}}]}`},
		{"a host's path is of any type", `{volumes: [{hostPath: {path: /x}}]}`, `{volumes: [{hostPath: {type: ""}}]}`},
		{"a token lives for an hour", `{volumes: [{projected: {sources: [{serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}]}}]}`,
			`{volumes: [{projected: {sources: [{serviceAccountToken: {expirationSeconds: 3600}}, {downwardAPI: {items: [{fieldRef: {apiVersion: v1}}]}}]}}]}`},
		{"a claim of the pod is of files", `{volumes: [{ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 1u}}}}}}]}`,
			`{volumes: [{ephemeral: {volumeClaimTemplate: {spec: {volumeMode: Filesystem, resources: {requests: {storage: 1m}}}}}}]}`},
		{"an image volume is pulled like an image", `{volumes: [{image: {reference: a}}, {image: {reference: "a:1"}}]}`,
			`{volumes: [{image: {pullPolicy: Always}}, {image: {pullPolicy: IfNotPresent}}]}`},
		{"remote volumes have what they had", `{volumes: [{iscsi: {}}, {rbd: {}}, {azureDisk: {}}, {scaleIO: {}}]}`, `{volumes: [
			{iscsi: {iscsiInterface: default}}, {rbd: {pool: rbd, user: admin, keyring: /etc/ceph/keyring}},
			{azureDisk: {cachingMode: ReadWrite, kind: Shared, fsType: ext4, readOnly: false}}, {scaleIO: {storageMode: ThinProvisioned, fsType: xfs}}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := decode(t, "{spec: "+c.is+"}", &corev1.PodTemplateSpec{})
			core.DefaultPodTemplate(s)
			contains(t, &s.Spec, c.becomes)
			again := s.DeepCopy()
			core.DefaultPodTemplate(again)
			if !equal(again, s) {
				t.Error("Defaults of defaults differ:", diff.Diff(s, again))
			}
		})
	}
}

func TestPodDefaults(t *testing.T) {
	for _, c := range []change{
		{"services are in the environment", `{}`, `{enableServiceLinks: true}`},
		{"a pod ends after a second rather than before it began", `{terminationGracePeriodSeconds: -5}`, `{terminationGracePeriodSeconds: 1}`},
		{"services may be left out", `{enableServiceLinks: false}`, `{enableServiceLinks: false}`},
		{"limits are requested", `{containers: [{name: c, resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}}]}`,
			`{containers: [{resources: {requests: {cpu: 500m, memory: 1Gi}}}]}`},
		{"limits of init containers are requested", `{initContainers: [{name: c, resources: {limits: {cpu: 1}}}]}`,
			`{initContainers: [{resources: {requests: {cpu: "1"}}}]}`},
		{"ports in the host's network are the host's", `{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 80}]}], initContainers: [{name: i, ports: [{containerPort: 81}]}]}`,
			`{containers: [{ports: [{hostPort: 80}]}], initContainers: [{ports: [{hostPort: 81}]}]}`},
		{"requests of the whole pod alone stay", `{resources: {requests: {cpu: 1}}}`, `{resources: {limits: null, requests: {cpu: "1"}}}`},
		{"no resources stay none", `{resources: {}}`, `{resources: {limits: null, requests: null}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, "{spec: "+c.is+"}")
			contains(t, &p.Spec, c.becomes)
			again := p.DeepCopy()
			core.Pod.Default(again)
			if !equal(again, p) {
				t.Error("Defaults of defaults differ:", diff.Diff(p, again))
			}
		})
	}
}

func TestWholePodsAreCompletedWhenTheyAreMade(t *testing.T) {
	for _, c := range []change{
		{"the whole pod requests its limits", `{resources: {limits: {cpu: 2, memory: 1Gi}}}`, `{resources: {requests: {cpu: "2", memory: 1Gi}}}`},
		{"the whole pod requests what its containers do", `{resources: {limits: {cpu: 4}}, containers: [{name: a, resources: {requests: {cpu: 1}}}, {name: b, resources: {requests: {cpu: 1}}}]}`,
			`{resources: {requests: {cpu: "2"}}}`},
		{"the whole pod has its containers' huge pages", `{resources: {limits: {cpu: 1}}, containers: [{name: a, resources: {limits: {hugepages-2Mi: 4Mi}}}]}`,
			`{resources: {limits: {hugepages-2Mi: 4Mi}, requests: {hugepages-2Mi: 4Mi}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, "{spec: "+c.is+"}")
			core.Pod.PrepareCreate(p)
			contains(t, &p.Spec, c.becomes)
		})
	}
}

func TestPreparePod(t *testing.T) {
	const terms = `{labelSelector: {matchExpressions: [{key: app, operator: In, values: [web]}, {key: zone, operator: NotIn, values: [a]}]}}`
	for _, c := range []change{
		{"a new pod is pending", `{}`, `{status: {phase: Pending, qosClass: BestEffort}}`},
		{"a status is not for clients", `{status: {phase: Running, podIP: 10.0.0.1, message: m}}`, `{status: {phase: Pending, podIP: null, message: null}}`},
		{"requests make it burstable", `{spec: {containers: [{name: c, resources: {requests: {cpu: 1}}}]}}`, `{status: {qosClass: Burstable}}`},
		{"limits make it guaranteed", `{spec: {containers: [{name: c, resources: {limits: {cpu: 1, memory: 1Gi}}}]}}`, `{status: {qosClass: Guaranteed}}`},
		{"a gate keeps it from being scheduled", `{spec: {schedulingGates: [{name: g}]}}`, `{status: {conditions: [
			{type: PodScheduled, status: "False", reason: SchedulingGated, message: Scheduling is blocked due to non-empty scheduling gates}]}}`},
		{"its labels go into terms", `{metadata: {labels: {app: web, zone: a}}, spec: {affinity: {
			podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: t, labelSelector: {}, matchLabelKeys: [app, other], mismatchLabelKeys: [zone]}]},
			podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: t, labelSelector: {}, matchLabelKeys: [app], mismatchLabelKeys: [zone]}}]}}}}`,
			`{spec: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [` + terms + `]},
			podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{podAffinityTerm: ` + terms + `}]}}}}`},
		{"its labels go into spreading", `{metadata: {labels: {app: web}}, spec: {topologySpreadConstraints: [
			{topologyKey: t, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [app]},
			{topologyKey: t, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [app]}]}}`,
			`{spec: {topologySpreadConstraints: [{labelSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}, {labelSelector: null}]}}`},
		{"fields of features that are off are gone", `{spec: {schedulingGroup: {podGroupName: g}, containers: [{name: c, image: i,
			volumeMounts: [{name: v, mountPath: /m, bindMountOptions: [noexec]}], lifecycle: {preStop: {httpGet: {port: 1, protocol: HTTP2}}},
			livenessProbe: {httpGet: {port: 1, protocol: HTTP2}}, readinessProbe: {grpc: {port: 1, mode: TLS}}}],
			volumes: [{secret: {defaultUser: 1, items: [{key: k, path: p, user: 1}]}}, {projected: {defaultUser: 1, sources: [{serviceAccountToken: {path: t, user: 1}}]}}]}}`,
			`{spec: {schedulingGroup: null, containers: [{volumeMounts: [{bindMountOptions: null}], lifecycle: {preStop: {httpGet: {protocol: null}}},
			livenessProbe: {httpGet: {protocol: null}}, readinessProbe: {grpc: {mode: null}}}],
			volumes: [{secret: {defaultUser: null, items: [{user: null}]}}, {projected: {defaultUser: null, sources: [{serviceAccountToken: {user: null}}]}}]}}`},
		{"an annotation becomes a profile", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: localhost/p}}}`,
			`{spec: {containers: [{securityContext: {appArmorProfile: {type: Localhost, localhostProfile: p}}}]}}`},
		{"an annotation for runtimes becomes a profile", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: runtime/default}}}`,
			`{spec: {containers: [{securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}}`},
		{"an annotation for none becomes a profile", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}}`,
			`{spec: {containers: [{securityContext: {appArmorProfile: {type: Unconfined}}}]}}`},
		{"an annotation is not for Windows", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}, spec: {os: {name: windows}}}`,
			`{spec: {containers: [{securityContext: null}]}}`},
		{"an annotation that cannot be read stays one", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: what}}}`,
			`{spec: {containers: [{securityContext: null}]}}`},
		{"an annotation says what the pod says", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}, spec: {securityContext: {appArmorProfile: {type: Unconfined}}}}`,
			`{spec: {containers: [{securityContext: null}]}}`},
		{"a profile comes before an annotation", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}, spec: {containers: [{name: c, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}}`,
			`{spec: {containers: [{securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, c.is)
			podKind.Status.ResetOnCreate(p)
			podKind.PrepareCreate(t.Context(), p)
			contains(t, p, c.becomes)
		})
	}
}

func TestNewPod(t *testing.T) {
	for _, r := range []row{
		{"it is on no node while it has gates", `{spec: {nodeName: node, schedulingGates: [{name: g}]}}`,
			[]string{"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}},
		{"it has no containers for debugging", `{spec: {ephemeralContainers: [{name: e, image: i}]}}`,
			[]string{"spec.ephemeralContainers: Forbidden: cannot be set on create"}},
		{"later it may have them", `{metadata: {resourceVersion: "1"}, spec: {ephemeralContainers: [{name: e, image: i}]}}`, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(podKind.Validate(t.Context(), pod(t, r.yaml))), r.want)
		})
	}
}

func TestDeleteGrace(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, pod string
		asked     *int64
		want      int64
	}{
		{"the spec says it", `{spec: {nodeName: node, terminationGracePeriodSeconds: 7}}`, nil, 7},
		{"the default is half a minute", `{spec: {nodeName: node}}`, nil, 30},
		{"the client says it", `{spec: {nodeName: node}}`, seconds(3), 3},
		{"the client says at once", `{spec: {nodeName: node}}`, seconds(0), 0},
		{"less than nothing is a second", `{spec: {nodeName: node}}`, seconds(-1), 1},
		{"a spec of less than nothing is a second", `{spec: {nodeName: node, terminationGracePeriodSeconds: -1}}`, nil, 1},
		{"no node runs it", `{}`, seconds(3), 0},
		{"it has succeeded", `{spec: {nodeName: node}, status: {phase: Succeeded}}`, nil, 0},
		{"it has failed", `{spec: {nodeName: node}, status: {phase: Failed}}`, seconds(9), 0},
		{"it runs", `{spec: {nodeName: node}, status: {phase: Running}}`, nil, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := podKind.DeleteGrace(pod(t, c.pod), c.asked); got != c.want {
				t.Errorf("Got %d, want %d.", got, c.want)
			}
		})
	}
}

func TestPodFields(t *testing.T) {
	p := pod(t, `{spec: {nodeName: node, restartPolicy: Never, schedulerName: s, serviceAccountName: a, hostNetwork: true},
		status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], nominatedNodeName: m}}`)
	for key, want := range map[string]string{
		"spec.nodeName": "node", "spec.restartPolicy": "Never", "spec.schedulerName": "s", "spec.serviceAccountName": "a",
		"spec.hostNetwork": "true", "status.phase": "Running", "status.podIP": "10.0.0.1", "status.podIPs": "", "status.nominatedNodeName": "m",
	} {
		set := podKind.Fields(p)
		if got, has := set[key]; !has || got != want {
			t.Errorf("Field %s is %q, want %q.", key, got, want)
		}
	}
	if got := len(podKind.Fields(&corev1.Pod{})); got != 9 {
		t.Errorf("An empty pod has %d fields.", got)
	}
}

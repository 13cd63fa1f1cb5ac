package core_test

import (
	"strings"
	"testing"
)

const (
	labelKeyMsg   = `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`
	labelValueMsg = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`
)

func TestNodeAffinity(t *testing.T) {
	const (
		req  = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
		pref = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
	)
	checkRows(t, []row{
		{"a choice", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}, {key: n, operator: Gt, values: ["1"]}, {key: e, operator: Exists}], matchFields: [{key: metadata.name, operator: In, values: [node-1]}]}]}`, nil},
		{"a choice has terms", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}`, []string{req + ": Required value: must have at least one node selector term"}},
		{"In has values", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}`,
			[]string{req + "[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		{"Exists has no values", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]}`,
			[]string{req + "[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"}},
		{"Gt has one value", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt}]}]}`,
			[]string{req + "[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"}},
		{"an operator is known", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Like}]}]}`,
			[]string{req + `[0].matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`}},
		{"a key is a label's", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: "a b", operator: Exists}]}]}`,
			[]string{req + `[0].matchExpressions[0].key: Invalid value: "a b": ` + labelKeyMsg}},
		{"a value is a label's", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: ["a b"]}]}]}`,
			[]string{req + `[0].matchExpressions[0].values[0]: Invalid value: "a b": ` + labelValueMsg}},
		{"nodes have one field", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: spec.x, operator: Exists}]}]}`,
			[]string{req + `[0].matchFields[0].operator: Invalid value: "Exists": not a valid selector operator`, req + `[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key`}},
		{"a node has one name", `requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [A, b]}]}]}`,
			[]string{req + "[0].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector", req + `[0].matchFields[0].values[0]: Invalid value: "A": ` + subMsg}},
		{"a weight is from 1 to 100", `preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}, {weight: 101, preference: {}}]`,
			[]string{pref + "[0].weight: Invalid value: 0: must be in the range 1-100", pref + "[1].weight: Invalid value: 101: must be in the range 1-100"}},
		{"a preference may be for what no label can be", `preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: ["a b"]}]}}]`, nil},
	}, func(text string) string { return "{affinity: {nodeAffinity: {" + text + "}}}" })
}

func TestPodAffinity(t *testing.T) {
	const p = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
	checkRows(t, []row{
		{"beside others", `{topologyKey: zone, labelSelector: {matchLabels: {a: b}}, namespaces: [x], matchLabelKeys: [v], mismatchLabelKeys: [w]}`, nil},
		{"a topology is needed", `{labelSelector: {}}`, []string{p + ".topologyKey: Required value: can not be empty", p + `.topologyKey: Invalid value: "": name part must be non-empty`, p + `.topologyKey: Invalid value: "": ` + labelKeyMsg}},
		{"a topology is a label", `{topologyKey: "a b", labelSelector: {}}`, []string{p + `.topologyKey: Invalid value: "a b": ` + labelKeyMsg}},
		{"a namespace has a name", `{topologyKey: zone, labelSelector: {}, namespaces: [A]}`, []string{p + `.namespace: Invalid value: "A": ` + labelMsg}},
		{"a selector is valid", `{topologyKey: zone, labelSelector: {matchExpressions: [{key: a, operator: In}]}}`,
			[]string{p + ".labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		{"keys need a selector", `{topologyKey: zone, matchLabelKeys: [a], mismatchLabelKeys: [b]}`,
			[]string{p + ".matchLabelKeys: Forbidden: must not be specified when labelSelector is not set", p + ".mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set"}},
		{"a key matches or not", `{topologyKey: zone, labelSelector: {}, matchLabelKeys: [a], mismatchLabelKeys: [a]}`,
			[]string{p + `.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys`}},
		{"a key is a label's", `{topologyKey: zone, labelSelector: {}, matchLabelKeys: ["a b"]}`, []string{p + `.matchLabelKeys[0]: Invalid value: "a b": ` + labelKeyMsg}},
	}, func(text string) string {
		return "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [" + text + "]}}}"
	})
	checkRows(t, []row{
		{"a weight is from 1 to 100", `{affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 200, podAffinityTerm: {topologyKey: zone}}]}}}`,
			[]string{"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 200: must be in the range 1-100"}},
		{"a weighted term is checked", `{affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: "a b"}}]}}}`,
			[]string{`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "a b": ` + labelKeyMsg}},
	}, asSpec)
}

func TestTopologySpread(t *testing.T) {
	const p = "spec.topologySpreadConstraints[0]"
	checkRows(t, []row{
		{"spread", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2, nodeAffinityPolicy: Honor, labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [v]}`, nil},
		{"all is needed", `{}`, []string{p + ".maxSkew: Invalid value: 0: must be greater than zero", p + ".topologyKey: Required value: can not be empty", p + `.whenUnsatisfiable: Unsupported value: "": supported values: "DoNotSchedule", "ScheduleAnyway"`}},
		{"a constraint is there once", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}`,
			[]string{p + `.{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, DoNotSchedule}"`}},
		{"domains are counted when they must be there", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 0}`,
			[]string{p + ".minDomains: Invalid value: 0: must be greater than zero", p + ".minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"}},
		{"policies are known", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, nodeAffinityPolicy: A, nodeTaintsPolicy: B}`,
			[]string{p + `.nodeAffinityPolicy: Unsupported value: "A": supported values: "Honor", "Ignore"`, p + `.nodeTaintsPolicy: Unsupported value: "B": supported values: "Honor", "Ignore"`}},
		{"keys need a selector", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [v]}`,
			[]string{p + ".matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"}},
		{"a key comes from the pod or the selector", `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [v], labelSelector: {matchLabels: {v: "1"}, matchExpressions: [{key: v, operator: In, values: ["1"]}]}}`,
			[]string{p + `[0]: Invalid value: "v": exists in both matchLabelKeys and labelSelector`}},
	}, func(text string) string { return "{topologySpreadConstraints: [" + text + "]}" })
}

func TestTolerations(t *testing.T) {
	const p = "spec.tolerations[0]"
	checkRows(t, []row{
		{"some", `{key: a, value: b, effect: NoSchedule}, {operator: Exists}, {key: c, operator: Exists, effect: NoExecute, tolerationSeconds: 5}`, nil},
		{"all taints are tolerated by Exists", `{operator: Equal}`, []string{p + ".operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""}},
		{"seconds are for those that run", `{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}`, []string{p + ".effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"}},
		{"a value is a label's", `{key: a, value: "b c"}`, []string{p + `.operator: Invalid value: "b c": ` + labelValueMsg}},
		{"Exists has no value", `{key: a, operator: Exists, value: b}`, []string{p + ".operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"}},
		{"an operator is known", `{key: a, operator: Like}`, []string{p + `.operator: Unsupported value: "Like": supported values: "Equal", "Exists"`}},
		{"comparison is not switched on", `{key: a, operator: Lt, value: "1"}`, []string{p + `.operator: Unsupported value: "Lt": supported values: "Equal", "Exists", "Lt", "Gt"`}},
		{"an effect is known", `{key: a, operator: Exists, effect: Evict}`, []string{p + `.effect: Unsupported value: "Evict": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`}},
		{"a key is a label's", `{key: "a b", operator: Exists}`, []string{p + `.key: Invalid value: "a b": ` + labelKeyMsg}},
	}, func(text string) string { return "{tolerations: [" + text + "]}" })
}

func TestNamesAndScalars(t *testing.T) {
	checkRows(t, []row{
		{"references have valid names", `{serviceAccountName: A, nodeName: B, priorityClassName: C, runtimeClassName: D}`, []string{
			`spec.serviceAccountName: Invalid value: "A": ` + subMsg, `spec.nodeName: Invalid value: "B": ` + subMsg,
			`spec.priorityClassName: Invalid value: "C": ` + subMsg, `spec.runtimeClassName: Invalid value: "D": ` + subMsg,
		}},
		{"a deadline is positive", `{activeDeadlineSeconds: 0}`, []string{"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"}},
		{"a restart policy is known", `{restartPolicy: Once}`, []string{`spec.restartPolicy: Unsupported value: "Once": supported values: "Always", "OnFailure", "Never"`}},
		{"a resize restarts no pod that never does", `{restartPolicy: Never, containers: [{name: c, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}]}`,
			[]string{"spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'"}},
		{"a preemption policy is known", `{preemptionPolicy: Sometimes}`, []string{`spec.preemptionPolicy: Unsupported value: "Sometimes": supported values: "PreemptLowerPriority", "Never"`}},
		{"a node selector has labels", `{nodeSelector: {a: "b c"}}`, []string{`spec.nodeSelector: Invalid value: "b c": ` + labelValueMsg}},
		{"gates have names", `{readinessGates: [{conditionType: "a b"}], schedulingGates: [{name: x}, {name: x}]}`, []string{
			`spec.readinessGates[0].conditionType: Invalid value: "a b": ` + labelKeyMsg, `spec.schedulingGates[1]: Duplicate value: "x"`,
		}},
		{"a gated pod has no node", `{nodeName: n, schedulingGates: [{name: x}]}`, []string{"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}},
	}, asSpec)
}

func TestDNS(t *testing.T) {
	many := strings.Repeat("a.example.com,", 33)
	checkRows(t, []row{
		{"a policy is known", `{dnsPolicy: Own}`, []string{`spec.dnsPolicy: Unsupported value: "Own": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`}},
		{"no policy needs a configuration", `{dnsPolicy: None}`, []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"no policy needs a server", `{dnsPolicy: None, dnsConfig: {}}`, []string{"spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"}},
		{"three servers at most", `{dnsConfig: {nameservers: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]}}`,
			[]string{`spec.dnsConfig.nameservers: Invalid value: ["10.0.0.1","10.0.0.2","10.0.0.3","10.0.0.4"]: must not have more than 3 nameservers`}},
		{"a server has an address", `{dnsConfig: {nameservers: [x]}}`, []string{`spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"searches may have underscores and dots at the end", `{dnsConfig: {searches: [_a.example.com., .]}}`, nil},
		{"a search is a domain", `{dnsConfig: {searches: ["a b"]}}`, []string{`spec.dnsConfig.searches[0]: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character…`}},
		{"searches are few", `{dnsConfig: {searches: [` + many + `]}}`, []string{"spec.dnsConfig.searches: Invalid value: …"}},
		{"an option has a name", `{dnsConfig: {options: [{value: x}]}}`, []string{"spec.dnsConfig.options[0]: Required value: must not be empty"}},
		{"an alias has an address and names", `{hostAliases: [{ip: 1.2.3, hostnames: [a, A]}]}`, []string{
			`spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`, `spec.hostAliases[0].hostnames[1]: Invalid value: "A": ` + subMsg,
		}},
		{"names of hosts are labels", `{hostname: a.b, subdomain: A}`, []string{`spec.hostname: Invalid value: "a.b": must not contain dots`, `spec.subdomain: Invalid value: "A": ` + labelMsg}},
		{"an own host name is the only one", `{hostnameOverride: h.example.com, setHostnameAsFQDN: true, hostNetwork: true}`, []string{
			"spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true", "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
		}},
		{"an own host name is short", `{hostnameOverride: ` + strings.Repeat("a", 65) + `}`, []string{"spec.hostnameOverride: Too long: may not be more than 64 bytes"}},
	}, asSpec)
}

package core_test

import "testing"

func TestResources(t *testing.T) {
	const r = "spec.containers[0].resources"
	checkRows(t, []row{
		{"requests and limits", `{resources: {requests: {cpu: 100m, memory: 1Gi, ephemeral-storage: 1Gi}, limits: {cpu: 1, memory: 2Gi, example.com/gpu: 2}}}`, nil},
		{"a request is within its limit", `{resources: {requests: {cpu: 2}, limits: {cpu: 1}}}`, []string{r + `.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		{"amounts are not negative", `{resources: {requests: {cpu: -1}}}`, []string{r + `.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		{"a resource is known", `{resources: {limits: {disk: 1}}}`, []string{r + `.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, r + `.limits[disk]: Invalid value: "disk": must be a standard resource for containers`, r + `.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, r + `.requests[disk]: Invalid value: "disk": must be a standard resource for containers`}},
		{"a resource is one of containers", `{resources: {requests: {pods: 1}}}`, []string{r + `.requests[pods]: Invalid value: "pods": must be a standard resource for containers`}},
		{"a resource of a vendor does not begin with requests", `{resources: {limits: {requests.example.com/gpu: 1}, requests: {requests.example.com/gpu: 1}}}`, []string{
			r + `.limits[requests.example.com/gpu]: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard`,
			r + `.requests[requests.example.com/gpu]: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard`,
		}},
		{"a vendor's resource is whole", `{resources: {limits: {example.com/gpu: 500m}}}`, []string{
			r + `.limits[example.com/gpu]: Invalid value: "500m": must be an integer`, r + `.requests[example.com/gpu]: Invalid value: "500m": must be an integer`,
		}},
		{"a vendor's resource is not shared", `{resources: {limits: {example.com/gpu: 2}, requests: {example.com/gpu: 1}}}`, []string{r + `.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2`}},
		{"a vendor's resource has a limit", `{resources: {requests: {example.com/gpu: 1}}}`, []string{r + ".limits: Required value: Limit must be set for non overcommitable resources"}},
		{"huge pages come with memory", `{resources: {limits: {hugepages-2Mi: 4Mi}}}`, []string{r + ": Forbidden: HugePages require cpu or memory"}},
		{"huge pages are whole pages", `{resources: {limits: {memory: 1Gi, hugepages-2Mi: 3Mi}}}`, []string{
			r + `.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`, r + `.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
		}},
		{"a claim is one of the pod's", `{resources: {claims: [{name: gpu}]}}`, []string{r + `.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty`}},
	}, asContainer)
	checkRows(t, []row{
		{"claims", `{resourceClaims: [{name: gpu, resourceClaimName: g}, {name: nic, resourceClaimTemplateName: n}], containers: [{name: c, image: i, resources: {claims: [{name: gpu}, {name: nic, request: a}, {name: nic, request: b}]}}]}`, nil},
		{"a claim has a name", `{resourceClaims: [{resourceClaimName: g}]}`, []string{"spec.resourceClaims[0].name: Required value"}},
		{"a claim is there once", `{resourceClaims: [{name: g, resourceClaimName: g}, {name: g, resourceClaimName: h}]}`, []string{`spec.resourceClaims[1].name: Duplicate value: "g"`}},
		{"a claim is one or a template", `{resourceClaims: [{name: g}, {name: h, resourceClaimName: g, resourceClaimTemplateName: g}]}`, []string{
			"spec.resourceClaims[0]: Invalid value: …", "spec.resourceClaims[1]: Invalid value: …",
		}},
		{"a claim is used whole or in parts", `{resourceClaims: [{name: gpu, resourceClaimName: g}], containers: [{name: c, image: i, resources: {claims: [{name: gpu, request: a}, {name: gpu}, {name: gpu}]}}]}`, []string{
			`spec.containers[0].resources.claims[1]: Duplicate value: "gpu"`, `spec.containers[0].resources.claims[2]: Duplicate value: "gpu"`,
		}},
		{"a part of a claim is used once", `{resourceClaims: [{name: gpu, resourceClaimName: g}], containers: [{name: c, image: i, resources: {claims: [{name: gpu, request: a}, {name: gpu, request: a}, {name: x}]}}]}`, []string{
			`spec.containers[0].resources.claims[1]: Duplicate value: "gpu/a"`, `spec.containers[0].resources.claims[2]: Not found: "x": must be one of the names in pod.spec.resourceClaims: gpu`,
		}},
		{"overhead is a limit", `{overhead: {disk: 1}}`, []string{`spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, `spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource for containers`}},
	}, asSpec)
}

func TestResourcesOfAPod(t *testing.T) {
	const r = "spec.resources"
	checkRows(t, []row{
		{"requests and limits", `{resources: {requests: {cpu: 1}, limits: {cpu: 2, memory: 1Gi}}}`, nil},
		{"a pod has no claims", `{resources: {claims: [{name: a}]}}`, []string{r + ".claims: Forbidden: claims may not be set for Resources at pod-level", r + `.claims[0]: Not found: "a": must be one of the names in pod.spec.resourceClaims which is empty`}},
		{"a pod has few resources", `{resources: {requests: {ephemeral-storage: 1Gi}}}`, []string{r + `.requests[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"`}},
		{"containers fit into a pod", `{resources: {requests: {cpu: 1}}, containers: [{name: a, image: i, resources: {requests: {cpu: 800m}}}, {name: b, image: i, resources: {requests: {cpu: 300m}}}]}`,
			[]string{r + `.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1100m`}},
		{"a container's limit fits into a pod's", `{resources: {limits: {cpu: 1}}, containers: [{name: a, image: i, resources: {requests: {cpu: 1}, limits: {cpu: 2}}}]}`,
			[]string{r + `.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1`}},
		{"huge pages fit into a pod", `{resources: {limits: {memory: 1Gi, hugepages-2Mi: 2Mi}}, containers: [{name: a, image: i, resources: {limits: {memory: 1Mi, hugepages-2Mi: 2Mi}}}, {name: b, image: i, resources: {limits: {memory: 1Mi, hugepages-2Mi: 2Mi}}}]}`,
			[]string{r + `.limits[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container limits of 4Mi`}},
		{"Windows has none", `{os: {name: windows}, resources: {limits: {cpu: 1}}}`, []string{r + ": Forbidden: may not be set for a windows pod"}},
	}, asSpec)
}

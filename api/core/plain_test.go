package core_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestNamespaceIsMadeActive(t *testing.T) {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	core.Namespace.PrepareCreate(n)
	if n.Status.Phase != corev1.NamespaceActive || len(n.Spec.Finalizers) != 1 || n.Spec.Finalizers[0] != "kubernetes" ||
		n.Labels["kubernetes.io/metadata.name"] != "team" {
		t.Errorf("%+v", n)
	}
	changed := n.DeepCopy()
	changed.Spec.Finalizers = nil
	core.Namespace.PrepareUpdate(changed, n)
	if len(changed.Spec.Finalizers) != 1 {
		t.Error("an update took the finalizer away")
	}
	n.Spec.Finalizers = []corev1.FinalizerName{"mine", "example.com/mine"}
	kindtest.Errors(t, core.Namespace.Validate(n),
		`spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`)
	n.Status.Phase = corev1.NamespaceTerminating
	kindtest.Errors(t, core.Namespace.Status.Validate(n, n),
		"status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty")
}

func TestConfigMap(t *testing.T) {
	c := &corev1.ConfigMap{
		Data:       map[string]string{"a/b": "1", "both": "2", ".ok": "3"},
		BinaryData: map[string][]byte{"both": {1}},
	}
	kindtest.Errors(t, core.ConfigMap.Validate(c),
		`data[a/b]: Invalid value: "a/b": a valid config key must consist of`,
		`data[both]: Invalid value: "both": duplicate of key present in binaryData`)
	big := &corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("x", 1<<20), "b": "y"}}
	kindtest.Errors(t, core.ConfigMap.Validate(big), "[]: Too long: may not be more than 1048576 bytes")

	old := &corev1.ConfigMap{Data: map[string]string{"a": "1"}, Immutable: ptr.To(true)}
	kindtest.Errors(t, core.ConfigMap.ValidateUpdate(&corev1.ConfigMap{Data: map[string]string{"a": "2"}}, old),
		"immutable: Forbidden: field is immutable when `immutable` is set", "data: Forbidden: field is immutable when `immutable` is set")
	kindtest.Errors(t, core.ConfigMap.ValidateUpdate(old, old))
}

func TestSecret(t *testing.T) {
	s := &corev1.Secret{StringData: map[string]string{"a": "1"}}
	core.Secret.Default(s)
	if s.Type != corev1.SecretTypeOpaque || string(s.Data["a"]) != "1" || s.StringData != nil {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		name   string
		secret corev1.Secret
		want   []string
	}{
		{"an opaque secret holds anything", corev1.Secret{Type: corev1.SecretTypeOpaque}, nil},
		{"a token names its account", corev1.Secret{Type: corev1.SecretTypeServiceAccountToken}, []string{
			"metadata.annotations[kubernetes.io/service-account.name]: Required value",
		}},
		{"TLS has both parts", corev1.Secret{Type: corev1.SecretTypeTLS}, []string{"data[tls.crt]: Required value", "data[tls.key]: Required value"}},
		{"a registry's secret is there", corev1.Secret{Type: corev1.SecretTypeDockerConfigJson}, []string{"data[.dockerconfigjson]: Required value"}},
		{"a registry's secret is JSON", corev1.Secret{
			Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{".dockercfg": []byte("{")},
		}, []string{`data[.dockercfg]: Invalid value: "<secret contents redacted>": unexpected end of JSON input`}},
		{"basic authentication has some part", corev1.Secret{Type: corev1.SecretTypeBasicAuth}, []string{
			"data[username]: Required value", "data[password]: Required value",
		}},
		{"SSH has a key", corev1.Secret{Type: corev1.SecretTypeSSHAuth}, []string{"data[ssh-privatekey]: Required value"}},
		{"a secret is not too large", corev1.Secret{Data: map[string][]byte{"a": make([]byte, 1<<20+1)}}, []string{
			"data: Too long: may not be more than 1048576 bytes",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, core.Secret.Validate(&c.secret), c.want...) })
	}
	kindtest.Errors(t, core.Secret.ValidateUpdate(&corev1.Secret{Type: "b"}, &corev1.Secret{Type: "a"}),
		`type: Invalid value: "b": field is immutable`)
	if got := core.Secret.Fields(s).Get("type"); got != "Opaque" {
		t.Error(got)
	}
}

func TestServiceAccountReferencesAreNames(t *testing.T) {
	s := &corev1.ServiceAccount{Secrets: []corev1.ObjectReference{{Kind: "Secret", Namespace: "other", Name: "a"}}}
	core.ServiceAccount.PrepareCreate(s)
	if s.Secrets[0] != (corev1.ObjectReference{Name: "a"}) {
		t.Errorf("%+v", s.Secrets)
	}
}

func TestEndpoints(t *testing.T) {
	e := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}, {IP: "10.0.0.3"}, {IP: "10.0.0.4"}},
		Ports:     []corev1.EndpointPort{{Port: 80}},
	}}}
	core.Endpoints.Default(e)
	kindtest.Errors(t, core.Endpoints.Validate(e))
	if got := core.Endpoints.Columns[1].Value(e); got != "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more..." {
		t.Error(got)
	}
	e.Subsets[0].Addresses[1].IP = "169.254.1.1"
	e.Subsets = append(e.Subsets, corev1.EndpointSubset{})
	kindtest.Errors(t, core.Endpoints.Validate(e),
		`subsets[0].addresses[1].ip: Invalid value: "169.254.1.1": may not be in the link-local range`,
		"subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`")
}

func TestEvent(t *testing.T) {
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web", Namespace: "default"},
		Source:         corev1.EventSource{Component: "kubelet", Host: "n1"},
	}
	kindtest.Errors(t, core.ValidateEvent(e))
	cells := core.Event.Erase().Cells(e)
	if cells[3] != "pod/web" || cells[5] != "kubelet, n1" || cells[8] != int64(1) {
		t.Errorf("%v", cells)
	}
	e.InvolvedObject.Namespace = "other"
	kindtest.Errors(t, core.ValidateEvent(e), `involvedObject.namespace: Invalid value: "other": does not match event.namespace`)
	e.EventTime = metav1.NowMicro()
	kindtest.Errors(t, core.ValidateEvent(e), "reportingComponent: Required value",
		`reportingComponent: Invalid value: "": name part must be non-empty`, `reportingComponent: Invalid value: "": name part must consist`,
		"reportingInstance: Required value", "action: Required value", "reason: Required value")
}

func TestALimitRangeNeedsNoName(t *testing.T) {
	unnamed, named := &corev1.LimitRange{}, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits"}}
	core.LimitRange.PrepareCreate(unnamed)
	core.LimitRange.PrepareCreate(named)
	if unnamed.Name == "" || named.Name != "limits" {
		t.Errorf("Names are %q and %q.", unnamed.Name, named.Name)
	}
}

func TestLimitRange(t *testing.T) {
	cpu := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s)}
	}
	l := &corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: "Container", Max: cpu("2"), Min: cpu("100m")}}}}
	core.LimitRange.Default(l)
	item := l.Spec.Limits[0]
	if item.Default.Cpu().String() != "2" || item.DefaultRequest.Cpu().String() != "2" {
		t.Errorf("%+v", item)
	}
	kindtest.Errors(t, core.LimitRange.Validate(l))
	l.Spec.Limits[0].Min = cpu("3")
	kindtest.Errors(t, core.LimitRange.Validate(l),
		`spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2`,
		`spec.limits[0].defaultRequest[cpu]: Invalid value: "2": min value 3 is greater than default request value 2`,
		`spec.limits[0].default[cpu]: Invalid value: "3": min value 3 is greater than default value 2`)
	kindtest.Errors(t, core.LimitRange.Validate(&corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: "Pod", Default: cpu("1")}, {Type: "Pod"},
	}}}), "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'", `spec.limits[1].type: Duplicate value: "Pod"`)
}

func TestResourceQuota(t *testing.T) {
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"pods": resource.MustParse("10"), "limits.cpu": resource.MustParse("4"), "count/deployments.apps": resource.MustParse("3"),
	}}}
	kindtest.Errors(t, core.ResourceQuota.Validate(q))
	q.Status.Hard, q.Status.Used = q.Spec.Hard, corev1.ResourceList{"pods": resource.MustParse("2")}
	if cells := core.ResourceQuota.Erase().Cells(q); cells[1] != "count/deployments.apps: 0/3, pods: 2/10" || cells[2] != "limits.cpu: 0/4" {
		t.Errorf("%v", cells)
	}
	q.Spec.Hard["magic"] = resource.MustParse("1")
	q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating}
	kindtest.Errors(t, core.ResourceQuota.Validate(q), `spec.hard[magic]: Invalid value: "magic": must be a standard resource type or fully qualified`,
		`spec.hard[magic]: Invalid value: "magic": must be a standard resource for quota`,
		`spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes`)
	kindtest.Errors(t, core.ResourceQuota.ValidateUpdate(q, &corev1.ResourceQuota{}), "spec.scopes: Invalid value: ")
	again := q.DeepCopy()
	again.Spec.Scopes = append(again.Spec.Scopes, corev1.ResourceQuotaScopeTerminating)
	kindtest.Errors(t, core.ResourceQuota.ValidateUpdate(again, q))
	q.Spec.Hard, q.Spec.Scopes = corev1.ResourceList{"limits.cpu": resource.MustParse("4")}, nil
	q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopeBestEffort, Operator: corev1.ScopeSelectorOpDoesNotExist},
	}}
	kindtest.Errors(t, core.ResourceQuota.Validate(q), `spec.scopeSelector.matchExpressions: Invalid value: {"matchExpressions":[`,
		`spec.scopeSelector.matchExpressions.operator: Invalid value: "DoesNotExist": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating`)
}

func claim(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceStorage: resource.MustParse("1Gi"),
		}},
	}}
	c.Status.Phase = corev1.ClaimBound
	change(c)
	core.DefaultPersistentVolumeClaim(c)
	return c
}

func TestPersistentVolumeClaim(t *testing.T) {
	old := claim(func(*corev1.PersistentVolumeClaim) {})
	kindtest.Errors(t, core.PersistentVolumeClaim.Validate(old))
	bound := claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv1" })
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(bound, old))
	grown := bound.DeepCopy()
	grown.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(grown, bound))
	moved := bound.DeepCopy()
	moved.Spec.VolumeName = "pv2"
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(moved, bound),
		"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")
	classed := bound.DeepCopy()
	classed.Spec.VolumeAttributesClassName = ptr.To("gold")
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(classed, bound))
	pending := bound.DeepCopy()
	pending.Status.Phase = corev1.ClaimPending
	classed.Status.Phase = corev1.ClaimPending
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(classed, pending), "spec: Forbidden: spec is immutable after creation")
	has := classed.DeepCopy()
	has.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, CurrentVolumeAttributesClassName: ptr.To("gold")}
	without := has.DeepCopy()
	without.Spec.VolumeAttributesClassName = nil
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(without, has),
		"spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
	without.Spec.VolumeAttributesClassName = ptr.To("")
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(without, has),
		"spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
	annotated := bound.DeepCopy()
	annotated.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "fast"}
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(annotated, bound),
		`metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "fast": field is immutable`)
	if w := core.PersistentVolumeClaim.Warnings(annotated, nil); len(w) != 1 || !strings.Contains(w[0], "deprecated since v1.8") {
		t.Errorf("%q", w)
	}
	moves := annotated.DeepCopy()
	moves.Annotations, moves.Spec.StorageClassName = nil, ptr.To("fast")
	kindtest.Errors(t, core.PersistentVolumeClaim.ValidateUpdate(moves, annotated))
	grows := bound.DeepCopy()
	grows.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{
		"cpu": corev1.PersistentVolumeClaimNodeResizePending, corev1.ResourceStorage: "Odd",
	}
	kindtest.Errors(t, core.PersistentVolumeClaim.Status.Validate(grows, bound),
		`status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage"`,
		`status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"`)
	if cells := core.PersistentVolumeClaim.Erase().Cells(bound); cells[1] != "Bound" || cells[2] != "pv1" || cells[6] != "<unset>" {
		t.Errorf("%v", cells)
	}
}

func TestPersistentVolume(t *testing.T) {
	volume := func(change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany},
		}}
		v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/data"}
		change(v)
		core.PersistentVolume.Default(v)
		return v
	}
	plain := volume(func(*corev1.PersistentVolume) {})
	kindtest.Errors(t, core.PersistentVolume.Validate(plain))
	if cells := core.PersistentVolume.Erase().Cells(plain); cells[1] != "1Gi" || cells[2] != "RWO,ROX" || cells[3] != "Retain" || cells[4] != "Pending" {
		t.Errorf("%v", cells)
	}
	for _, c := range []struct {
		name   string
		change func(*corev1.PersistentVolume)
		want   []string
	}{
		{"one type is needed", func(v *corev1.PersistentVolume) { v.Spec.HostPath = nil }, []string{"spec: Required value: must specify a volume type"}},
		{"two types are too many", func(v *corev1.PersistentVolume) {
			v.Spec.NFS = &corev1.NFSVolumeSource{Server: "s", Path: "/"}
		}, []string{"spec.nfs: Forbidden: may not specify more than 1 volume type"}},
		{"local storage is somewhere", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.Local = nil, &corev1.LocalVolumeSource{Path: "/disk"}
		}, []string{"spec.nodeAffinity: Required value: Local volume requires node affinity"}},
		{"capacity is storage", func(v *corev1.PersistentVolume) { v.Spec.Capacity = nil }, []string{
			"spec.capacity: Required value", "spec.capacity: Unsupported value",
		}},
		{"a driver's volume has a handle", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.CSI = nil, &corev1.CSIPersistentVolumeSource{Driver: "csi.example.com"}
		}, []string{"spec.csi.volumeHandle: Required value"}},
		{"a driver's secrets are named in full, in their order", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.CSI = nil, &corev1.CSIPersistentVolumeSource{
				Driver: "csi.example.com", VolumeHandle: "h",
				NodeExpandSecretRef: &corev1.SecretReference{}, ControllerExpandSecretRef: &corev1.SecretReference{Name: "Bad!", Namespace: "n"},
			}
		}, []string{
			`spec.csi.controllerExpandSecretRef.name: Invalid value: "Bad!": a lowercase RFC 1123 subdomain`,
			"spec.csi.nodeExpandSecretRef.name: Required value", "spec.csi.nodeExpandSecretRef.namespace: Required value",
		}},
		{"what pods' volumes have not", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.AzureFile = nil, &corev1.AzureFilePersistentVolumeSource{SecretName: "s", ShareName: "s", SecretNamespace: ptr.To("")}
		}, []string{"spec.azureFile.secretNamespace: Required value"}},
		{"a namespace of endpoints", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.Glusterfs = nil, &corev1.GlusterfsPersistentVolumeSource{EndpointsName: "e", Path: "p", EndpointsNamespace: ptr.To("")}
		}, []string{`spec.glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name`}},
		{"an initiator", func(v *corev1.PersistentVolume) {
			v.Name = "volume"
			v.Spec.HostPath, v.Spec.ISCSI = nil, &corev1.ISCSIPersistentVolumeSource{
				TargetPortal: strings.Repeat("p", 60), IQN: "other", InitiatorName: ptr.To(""), SecretRef: &corev1.SecretReference{},
			}
		}, []string{
			`spec.iscsi.targetportal: Invalid value: "` + strings.Repeat("p", 60) + `": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters`,
			`spec.iscsi.iqn: Invalid value: "other": must be valid format`, "spec.iscsi.secretRef.name: Required value",
			`spec.iscsi.initiatorname: Invalid value: "": must be valid format`,
		}},
		{"mount options by annotation", func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{corev1.MountOptionAnnotation: "ro"}
		}, []string{"metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, core.PersistentVolume.Validate(volume(c.change)), c.want...) })
	}
	moved := volume(func(v *corev1.PersistentVolume) { v.Spec.HostPath.Path = "/other" })
	kindtest.Errors(t, core.PersistentVolume.ValidateUpdate(moved, plain),
		"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation")
	on := func(key string) *corev1.PersistentVolume {
		return volume(func(v *corev1.PersistentVolume) {
			v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpExists}}},
			}}}
		})
	}
	old := on(corev1.LabelFailureDomainBetaZone)
	kindtest.Errors(t, core.PersistentVolume.ValidateUpdate(on(corev1.LabelTopologyZone), old))
	kindtest.Errors(t, core.PersistentVolume.ValidateUpdate(on(corev1.LabelTopologyRegion), old),
		`nodeAffinity: Invalid value: {"required":`)
	if w := core.PersistentVolume.Warnings(old, nil); len(w) != 1 || !strings.Contains(w[0], `matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17`) {
		t.Errorf("%q", w)
	}
}

func TestDataSourcesAreGivenInBothForms(t *testing.T) {
	c := claim(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "old"}
	})
	core.PersistentVolumeClaim.PrepareCreate(c)
	if ref := c.Spec.DataSourceRef; ref == nil || ref.Name != "old" {
		t.Errorf("%+v", ref)
	}
	other := claim(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: ptr.To("example.com"), Kind: "Backup", Name: "b"}
	})
	core.PersistentVolumeClaim.PrepareCreate(other)
	if from := other.Spec.DataSource; from == nil || from.Kind != "Backup" {
		t.Errorf("%+v", from)
	}
	for name, c := range map[string]*corev1.PersistentVolumeClaim{
		"the old form alone cannot name that kind": claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ptr.To("example.com"), Kind: "Backup", Name: "b"}
		}),
		"other namespaces cannot be named": claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "b", Namespace: ptr.To("other")}
		}),
	} {
		core.PersistentVolumeClaim.PrepareCreate(c)
		if c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil {
			t.Errorf("%s: %+v, %+v", name, c.Spec.DataSource, c.Spec.DataSourceRef)
		}
	}
	c.Spec.DataSource.Name = "new"
	kindtest.Errors(t, core.PersistentVolumeClaim.Validate(c), `spec: Invalid value: `)
}

package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// PodTemplateWarnings are told to a client that writes a template: what is
// accepted but does not do what one would think. On updates, kinds ask only
// when their generation changes.
func PodTemplateWarnings(t *corev1.PodTemplateSpec, fld *field.Path) []string {
	if t == nil {
		return nil
	}
	w := &warnings{spec: &t.Spec, meta: &t.ObjectMeta, fld: fld}
	w.all()
	return w.list
}

// PodWarnings are told to a client that creates a pod.
func PodWarnings(pod *corev1.Pod) []string {
	w := &warnings{spec: &pod.Spec, meta: &pod.ObjectMeta}
	w.all()
	return w.list
}

type warnings struct {
	spec *corev1.PodSpec
	meta *metav1.ObjectMeta
	// fld is the template's path; nil for a pod.
	fld  *field.Path
	list []string
}

func (w *warnings) add(p *field.Path, format string, args ...any) {
	w.list = append(w.list, p.String()+": "+fmt.Sprintf(format, args...))
}

// path is a path in the spec.
func (w *warnings) path(names ...string) *field.Path { return w.fld.Child("spec", names...) }

func (w *warnings) annotation(key string) *field.Path {
	return w.fld.Child("metadata", "annotations").Key(key)
}

func (w *warnings) all() {
	w.nodeLabels()
	w.oldAnnotations()
	w.oldVolumes()
	w.overlaps()
	w.duplicates()
	w.fractions(w.spec.Overhead, w.path("overhead"), bytes...)
	if sc := w.spec.SecurityContext; sc == nil || sc.SeccompProfile == nil {
		w.seccomp(corev1.SeccompPodAnnotationKey)
	}
	w.containers()
	w.ports()
	w.portNames()
	if g := w.spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(w.path("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.nullSelectors()
	w.addresses()
}

// oldNodeLabels are labels of nodes that have new names.
var oldNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                  `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                    `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region": `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":   `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":         `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
}

// OldNodeLabel tells by what a label of nodes is replaced, if it is.
func OldNodeLabel(key string) (message string, old bool) {
	message, old = oldNodeLabels[key]
	return message, old
}

func (w *warnings) nodeLabels() {
	for _, key := range validate.Keys(w.spec.NodeSelector) {
		if msg, old := oldNodeLabels[key]; old {
			w.add(w.path("nodeSelector").Key(key), "%s", msg)
		}
	}
	if a := w.spec.Affinity; a != nil && a.NodeAffinity != nil {
		p := w.path("affinity", "nodeAffinity")
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i, t := range r.NodeSelectorTerms {
				w.nodeTerm(t, false, p.Child(required, "nodeSelectorTerms").Index(i))
			}
		}
		for i, t := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(t.Preference, true, p.Child(preferred).Index(i).Child("preference"))
		}
	}
	for i, c := range w.spec.TopologySpreadConstraints {
		p := w.path("topologySpreadConstraints").Index(i)
		if msg, old := oldNodeLabels[c.TopologyKey]; old {
			w.add(p.Child("topologyKey"), "%s is %s", c.TopologyKey, msg)
		}
		if c.LabelSelector == nil {
			w.add(p.Child("labelSelector"), nullSelector)
		}
	}
}

// nodeTerm warns of what a term looks for; values that no node can have are an
// error where they must be there.
func (w *warnings) nodeTerm(t corev1.NodeSelectorTerm, values bool, p *field.Path) {
	for i, r := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		if msg, old := oldNodeLabels[r.Key]; old {
			w.add(at.Child("key"), "%s is %s", r.Key, msg)
		}
		for j, v := range r.Values {
			if msgs := validation.IsValidLabelValue(v); values && len(msgs) > 0 {
				w.add(at.Child("values").Index(j), "%s is invalid, %s", v, msgs[0])
			}
		}
	}
}

const nullSelector = "a null labelSelector results in matching no pod"

func (w *warnings) nullSelectors() {
	check := func(must []corev1.PodAffinityTerm, want []corev1.WeightedPodAffinityTerm, p *field.Path) {
		for i, t := range must {
			if t.LabelSelector == nil {
				w.add(p.Child(required).Index(i).Child("labelSelector"), nullSelector)
			}
		}
		for i, t := range want {
			if t.PodAffinityTerm.LabelSelector == nil {
				w.add(p.Child(preferred).Index(i).Child("podAffinityTerm", "labelSelector"), nullSelector)
			}
		}
	}
	a := w.spec.Affinity
	if a != nil && a.PodAffinity != nil {
		check(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, w.path("affinity", "podAffinity"))
	}
	if a != nil && a.PodAntiAffinity != nil {
		check(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, w.path("affinity", "podAntiAffinity"))
	}
}

func (w *warnings) oldAnnotations() {
	for _, a := range []struct{ key, use string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, set := w.meta.Annotations[a.key]; set {
			w.add(w.annotation(a.key), "%s", a.use)
		}
	}
}

func (w *warnings) seccomp(key string) {
	if _, set := w.meta.Annotations[key]; set {
		w.add(w.annotation(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

// appArmor is for templates. For pods the API server makes fields of the
// annotations and warns when it does.
func (w *warnings) appArmor(c *corev1.Container) {
	if w.fld == nil || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return
	}
	key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	profile, set := w.meta.Annotations[key]
	if !set {
		return
	}
	if sc := w.spec.SecurityContext; sc != nil && sc.AppArmorProfile != nil && apiequality.Semantic.DeepEqual(sc.AppArmorProfile, appArmorField(profile)) {
		return
	}
	w.add(w.annotation(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
}

func (w *warnings) oldVolumes() {
	for i, v := range w.spec.Volumes {
		for _, t := range []struct {
			name string
			set  bool
			msg  string
		}{
			{"photonPersistentDisk", v.PhotonPersistentDisk != nil, "deprecated in v1.11, non-functional in v1.16+"},
			{"gitRepo", v.GitRepo != nil, "deprecated in v1.11, and disabled by default in v1.33+"},
			{"scaleIO", v.ScaleIO != nil, "deprecated in v1.16, non-functional in v1.22+"},
			{"flocker", v.Flocker != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"storageOS", v.StorageOS != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"quobyte", v.Quobyte != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"glusterfs", v.Glusterfs != nil, "deprecated in v1.25, non-functional in v1.26+"},
			{"cephfs", v.CephFS != nil, "deprecated in v1.28, non-functional in v1.31+"},
			{"rbd", v.RBD != nil, "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if t.set {
				w.add(w.path("volumes").Index(i).Child(t.name), "%s", t.msg)
			}
		}
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			p, r := w.path("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec", "resources"), e.VolumeClaimTemplate.Spec.Resources
			w.fractions(r.Requests, p.Child("requests"), corev1.ResourceStorage)
			w.fractions(r.Limits, p.Child("limits"), corev1.ResourceStorage)
		}
	}
}

// duplicates warns of list entries that server-side apply would make one.
func (w *warnings) duplicates() {
	ips := sets.New[string]()
	for i, a := range w.spec.HostAliases {
		if ips.Has(a.IP) {
			w.add(w.path("hostAliases").Index(i).Child("ip"), "duplicate ip %q", a.IP)
		}
		ips.Insert(a.IP)
	}
	names := sets.New[string]()
	for i, s := range w.spec.ImagePullSecrets {
		if names.Has(s.Name) {
			w.add(w.path("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", s.Name)
		}
		names.Insert(s.Name)
	}
	for i, s := range w.spec.ImagePullSecrets {
		if s.Name == "" {
			w.add(w.path("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

const fractionMsg = "fractional byte value %q is invalid, must be an integer"

// bytes are the resources of containers that are counted in bytes.
var bytes = []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// fractions warns of parts of a byte.
func (w *warnings) fractions(list corev1.ResourceList, p *field.Path, names ...corev1.ResourceName) {
	for _, name := range names {
		if q, set := list[name]; set && q.MilliValue()%1000 != 0 {
			w.add(p.Key(string(name)), fractionMsg, q.String())
		}
	}
}

func (w *warnings) containers() {
	for c, p := range containers(w.spec, w.path()) {
		if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
			w.seccomp(corev1.SeccompContainerAnnotationKeyPrefix + c.Name)
		}
		w.appArmor(c)
		for _, name := range bytes {
			w.fractions(c.Resources.Limits, p.Child("resources", "limits"), name)
			w.fractions(c.Resources.Requests, p.Child("resources", "requests"), name)
		}
		seen := sets.New[string]()
		for i, v := range c.Env {
			// A second value is right when it is made of the first.
			ref := "$(" + v.Name + ")"
			if seen.Has(v.Name) && (v.ValueFrom != nil || v.Value == ref || !strings.Contains(v.Value, ref)) {
				w.add(p.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
			}
			seen.Insert(v.Name)
		}
	}
}

func (w *warnings) ports() {
	type placed struct {
		corev1.ContainerPort
		at *field.Path
	}
	seen := map[string][]placed{}
	for c, p := range containers(w.spec, w.path()) {
		for i, port := range c.Ports {
			at := p.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				w.add(at, "hostIP set without hostPort: %+v", port)
			}
			key := fmt.Sprintf("%d/%s", port.ContainerPort, port.Protocol)
			for _, other := range seen[key] {
				switch sameHost := port.HostPort == other.HostPort; {
				case sameHost && port.HostIP == other.HostIP:
					w.add(at, "duplicate port definition with %s", other.at)
				case port.HostPort == 0 || other.HostPort == 0:
					w.add(at, "overlapping port definition with %s", other.at)
				case sameHost && (port.HostIP == "") != (other.HostIP == ""):
					w.add(at, "dangerously ambiguous port definition with %s", other.at)
				}
			}
			seen[key] = append(seen[key], placed{port, at})
		}
	}
}

// portNames warns of ports that nothing finds by their names.
func (w *warnings) portNames() {
	first := map[string]*field.Path{}
	for c, p := range containers(w.spec, w.path()) {
		for i, port := range c.Ports {
			at := p.Child("ports").Index(i)
			other, seen := first[port.Name]
			switch {
			case port.Name == "":
			case seen:
				w.add(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, other, other)
			default:
				first[port.Name] = at
			}
		}
	}
}

// addresses warns of addresses in forms that will be refused.
func (w *warnings) addresses() {
	if d := w.spec.DNSConfig; d != nil {
		for i, ip := range d.Nameservers {
			w.list = append(w.list, validation.GetWarningsForIP(w.path("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, a := range w.spec.HostAliases {
		w.list = append(w.list, validation.GetWarningsForIP(w.path("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
}

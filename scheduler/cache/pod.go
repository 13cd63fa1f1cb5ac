package cache

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
)

// Requests that a container without any is scored with, so that many pods
// without requests spread (kube-scheduler's values).
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 * 1024 * 1024
)

var defaultRequests = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
	corev1.ResourceMemory: *resource.NewQuantity(defaultMemory, resource.BinarySI),
}

// Pod is a pod with what every cycle asks of it, computed once. It is
// read-only after NewPod.
type Pod struct {
	*corev1.Pod
	Key      string // namespace/name
	Priority int32
	// Requests is what the pod needs: containers, init containers, sidecars,
	// pod-level resources and overhead.
	Requests Resources
	// ScoreCPU and ScoreMemory are the requests for scoring, in which
	// containers without requests count with a default.
	ScoreCPU, ScoreMemory int64
	Ports                 []Port
	Claims                []string // names of the persistent volume claims

	Affinity              []Term
	AntiAffinity          []Term
	PreferredAffinity     []WeightedTerm
	PreferredAntiAffinity []WeightedTerm
}

// Port is a port that a pod occupies on its node.
type Port struct {
	IP       string // "0.0.0.0" means all addresses
	Protocol corev1.Protocol
	Port     int32
}

// Overlaps tells whether two ports cannot be on one node.
func (p Port) Overlaps(q Port) bool {
	return p.Port == q.Port && p.Protocol == q.Protocol &&
		(p.IP == q.IP || p.IP == anyAddress || q.IP == anyAddress)
}

const anyAddress = "0.0.0.0"

// Term is an affinity term, ready to be matched.
type Term struct {
	// Key is equal for terms that select the same pods in the same domains.
	Key               string
	TopologyKey       string
	Selector          labels.Selector
	Namespaces        []string
	NamespaceSelector labels.Selector
}

// WeightedTerm is a preferred term.
type WeightedTerm struct {
	Term
	Weight int32
}

// Matches tells whether the term selects a pod; namespace gives the labels of
// the pod's namespace and is only asked when the term selects namespaces by
// label.
func (t *Term) Matches(pod *corev1.Pod, namespace func(name string) labels.Set) bool {
	if !t.Selector.Matches(labels.Set(pod.Labels)) {
		return false
	}
	for _, n := range t.Namespaces {
		if n == pod.Namespace {
			return true
		}
	}
	if t.NamespaceSelector == nil {
		return false
	}
	return t.NamespaceSelector.Empty() || t.NamespaceSelector.Matches(namespace(pod.Namespace))
}

// NewPod computes what the scheduler needs of a pod. Affinity terms with
// selectors that cannot be parsed (the API server refuses them) give an error;
// the pod can be used, but must not be scheduled.
func NewPod(pod *corev1.Pod) (*Pod, error) {
	p := &Pod{
		Pod:      pod,
		Key:      pod.Namespace + "/" + pod.Name,
		Priority: schedulinghelper.PodPriority(pod),
		Ports:    hostPorts(&pod.Spec),
		Claims:   claims(pod),
	}
	p.setRequests()
	return p, p.setTerms()
}

// setRequests sums the requests. A pod of plain containers, which most are,
// is summed here: the library's general sum costs several maps each time.
func (p *Pod) setRequests() {
	if p.isPlain() {
		for i := range p.Spec.Containers {
			requests := p.Spec.Containers[i].Resources.Requests
			one := ResourcesOf(requests)
			p.Requests.add(&one, 1)
			cpu, memory := one.MilliCPU, one.Memory
			if _, ok := requests[corev1.ResourceCPU]; !ok {
				cpu = defaultMilliCPU
			}
			if _, ok := requests[corev1.ResourceMemory]; !ok {
				memory = defaultMemory
			}
			p.ScoreCPU += cpu
			p.ScoreMemory += memory
		}
		return
	}
	options := resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		InPlacePodLevelResourcesVerticalScalingEnabled: true,
	}
	p.Requests = ResourcesOf(resourcehelper.PodRequests(p.Pod, options))
	options.NonMissingContainerRequests = defaultRequests
	scored := resourcehelper.PodRequests(p.Pod, options)
	p.ScoreCPU, p.ScoreMemory = scored.Cpu().MilliValue(), scored.Memory().Value()
}

// isPlain tells whether the pod's requests are the sum of its containers'.
func (p *Pod) isPlain() bool {
	if len(p.Spec.InitContainers) > 0 || p.Spec.Overhead != nil || p.Spec.Resources != nil ||
		p.Status.Resources != nil || p.Status.AllocatedResources != nil || len(p.Spec.ResourceClaims) > 0 {
		return false
	}
	for i := range p.Status.ContainerStatuses {
		// What the node agent has given out counts while a resize is under way.
		if s := &p.Status.ContainerStatuses[i]; s.Resources != nil || s.AllocatedResources != nil {
			return false
		}
	}
	return true
}

func (p *Pod) setTerms() error {
	affinity := p.Spec.Affinity
	if affinity == nil {
		return nil
	}
	var err error
	if a := affinity.PodAffinity; a != nil {
		if p.Affinity, err = terms(p.Pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		if p.PreferredAffinity, err = weightedTerms(p.Pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
	}
	if a := affinity.PodAntiAffinity; a != nil {
		if p.AntiAffinity, err = terms(p.Pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		if p.PreferredAntiAffinity, err = weightedTerms(p.Pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
	}
	return nil
}

// hasAffinity tells whether the pod has any affinity to other pods.
func (p *Pod) hasAffinity() bool {
	return len(p.Affinity)+len(p.AntiAffinity)+len(p.PreferredAffinity)+len(p.PreferredAntiAffinity) > 0
}

func terms(pod *corev1.Pod, in []corev1.PodAffinityTerm) ([]Term, error) {
	out := make([]Term, 0, len(in))
	for i := range in {
		t, err := newTerm(pod, &in[i])
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func weightedTerms(pod *corev1.Pod, in []corev1.WeightedPodAffinityTerm) ([]WeightedTerm, error) {
	out := make([]WeightedTerm, 0, len(in))
	for i := range in {
		t, err := newTerm(pod, &in[i].PodAffinityTerm)
		if err != nil {
			return nil, err
		}
		out = append(out, WeightedTerm{Term: t, Weight: in[i].Weight})
	}
	return out, nil
}

func newTerm(pod *corev1.Pod, in *corev1.PodAffinityTerm) (Term, error) {
	t := Term{TopologyKey: in.TopologyKey, Namespaces: in.Namespaces}
	var err error
	if t.Selector, err = metav1.LabelSelectorAsSelector(in.LabelSelector); err != nil {
		return t, fmt.Errorf("affinity term's label selector: %w", err)
	}
	if in.NamespaceSelector != nil {
		if t.NamespaceSelector, err = metav1.LabelSelectorAsSelector(in.NamespaceSelector); err != nil {
			return t, fmt.Errorf("affinity term's namespace selector: %w", err)
		}
	} else if len(in.Namespaces) == 0 {
		t.Namespaces = []string{pod.Namespace}
	}
	t.Key = t.TopologyKey + "\x00" + t.Selector.String() + "\x00" + strings.Join(t.Namespaces, ",")
	if t.NamespaceSelector != nil {
		t.Key += "\x00" + t.NamespaceSelector.String() + "\x00"
	}
	return t, nil
}

func hostPorts(spec *corev1.PodSpec) []Port {
	var out []Port
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			port := Port{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if port.IP == "" {
				port.IP = anyAddress
			}
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			out = append(out, port)
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		// Only sidecars live as long as the pod.
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return out
}

func claims(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, pod.Name+"-"+v.Name)
		}
	}
	return out
}

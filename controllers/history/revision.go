package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner is the object that a history is of.
type Owner struct {
	client.Object

	// Ref is what revisions name as their controller.
	Ref metav1.OwnerReference

	// Selector finds revisions that nobody owns.
	Selector *metav1.LabelSelector

	// Template is the owner's present one.
	Template *corev1.PodTemplateSpec

	// HashLabel is the label that holds a revision's hash.
	HashLabel string

	// Collisions is how many hashes turned out to be taken.
	Collisions int32
}

// snapshot returns the template as a strategic merge patch of the owner, which
// is what rolling back applies.
func snapshot(template *corev1.PodTemplateSpec) ([]byte, error) {
	body, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encode pod template: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("decode pod template: %w", err)
	}
	fields["$patch"] = "replace"
	body, err = json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
	if err != nil {
		return nil, fmt.Errorf("encode revision: %w", err)
	}
	return body, nil
}

// Template returns the pod template that a revision holds.
func Template(revision *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(revision.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("decode revision %s: %w", revision.Name, err)
	}
	return &patch.Spec.Template, nil
}

// holds tells whether a revision holds a template.
func holds(revision *appsv1.ControllerRevision, template *corev1.PodTemplateSpec) bool {
	held, err := Template(revision)
	return err == nil && apiequality.Semantic.DeepEqual(held, template)
}

// newRevision returns the revision of the owner's present template.
func newRevision(owner Owner, number int64) (*appsv1.ControllerRevision, error) {
	data, err := snapshot(owner.Template)
	if err != nil {
		return nil, err
	}
	sum := fnv.New32()
	sum.Write(data)
	if owner.Collisions > 0 {
		fmt.Fprint(sum, owner.Collisions)
	}
	hash := rand.SafeEncodeString(fmt.Sprint(sum.Sum32()))
	labels := maps.Clone(owner.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[owner.HashLabel] = hash
	// The longest name is 253 characters; 10 of a hash and a dash, and some.
	const longest = 223
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            owner.GetName()[:min(len(owner.GetName()), longest)] + "-" + hash,
			Labels:          labels,
			Annotations:     maps.Clone(owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{owner.Ref},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}, nil
}

// Sort returns revisions from the oldest to the newest.
func Sort(revisions []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	return slices.SortedFunc(slices.Values(revisions), func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// find returns the newest of some sorted revisions that holds a template, or nil.
func find(revisions []*appsv1.ControllerRevision, template *corev1.PodTemplateSpec) *appsv1.ControllerRevision {
	for _, revision := range slices.Backward(revisions) {
		if holds(revision, template) {
			return revision
		}
	}
	return nil
}

// next is one more than the highest number of some sorted revisions.
func next(revisions []*appsv1.ControllerRevision) int64 {
	if len(revisions) == 0 {
		return 1
	}
	return revisions[len(revisions)-1].Revision + 1
}

// planTrim returns the oldest of some sorted revisions, so that no more than
// limit are left beside those that are in use.
func planTrim(revisions []*appsv1.ControllerRevision, inUse func(*appsv1.ControllerRevision) bool, limit int) []*appsv1.ControllerRevision {
	spare := slices.DeleteFunc(slices.Clone(revisions), inUse)
	return spare[:max(0, len(spare)-limit)]
}

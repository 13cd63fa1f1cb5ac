package deployment

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
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

// hashLabel tells the pods and sets of one template from those of the others.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// findNew returns the set whose template is the Deployment's, which is nil
// before it is created, and all the others. Two sets with that template are a
// leftover of old faults; the older one is the one that others have found too.
func findNew(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sets = slices.SortedFunc(slices.Values(sets), byAge)
	at := slices.IndexFunc(sets, func(set *appsv1.ReplicaSet) bool {
		return sameTemplate(&set.Spec.Template, &d.Spec.Template)
	})
	if at < 0 {
		return nil, sets
	}
	return sets[at], slices.Delete(slices.Clone(sets), at, at+1)
}

// byAge orders sets from the oldest to the newest.
func byAge(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sameTemplate compares two templates without the label that tells sets apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	if !apiequality.Semantic.DeepEqual(&a.Spec, &b.Spec) {
		return false
	}
	metaA, metaB := a.ObjectMeta.DeepCopy(), b.ObjectMeta.DeepCopy()
	delete(metaA.Labels, hashLabel)
	delete(metaB.Labels, hashLabel)
	return apiequality.Semantic.DeepEqual(metaA, metaB)
}

// nextRevision is one more than the highest revision among the old sets.
func nextRevision(old []*appsv1.ReplicaSet) int64 {
	var highest int64
	for _, set := range old {
		highest = max(highest, revisionOf(set))
	}
	return highest + 1
}

// newSet returns the set for the Deployment's template, with size replicas.
func newSet(d *appsv1.Deployment, revision int64, size int32) (*appsv1.ReplicaSet, error) {
	hash, err := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	template := d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            d.Name + "-" + hash,
			Namespace:       d.Namespace,
			Labels:          template.Labels,
			Annotations:     sizeAnnotations(d, planAnnotations(d, nil, revision)),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To(size),
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        *template,
		},
	}, nil
}

func withHash(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[hashLabel] = hash
	return labels
}

// templateHash names a template, in characters that spell no words. Fields
// that are not set do not count, so that it stays the same when later versions
// of the API add fields. collisions tells apart templates with the same hash.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	encoded, err := json.Marshal(template)
	if err != nil {
		return "", fmt.Errorf("encode pod template: %w", err)
	}
	sum := fnv.New32a()
	sum.Write(encoded)
	if collisions != nil {
		fmt.Fprintf(sum, "/%d", *collisions)
	}
	return rand.SafeEncodeString(fmt.Sprint(sum.Sum32())), nil
}

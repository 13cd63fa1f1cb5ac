package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/conversion"

	v1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

// keptAnnotation holds what v1 has and this version has no field for, so that
// an old client's update loses none of it.
const keptAnnotation = "web.example.com/v1"

type kept struct {
	Image  string           `json:"image,omitempty"`
	Port   int32            `json:"port,omitempty"`
	Status v1.WebsiteStatus `json:"status"`
}

// ConvertTo gives the v1 of this site.
func (w *Website) ConvertTo(hub conversion.Hub) error {
	to, ok := hub.(*v1.Website)
	if !ok {
		return fmt.Errorf("convert Website %s/%s: %T is not v1", w.Namespace, w.Name, hub)
	}
	to.ObjectMeta = *w.ObjectMeta.DeepCopy()
	to.Spec = v1.WebsiteSpec{Greeting: w.Spec.Message, Replicas: w.Spec.Size}
	if raw, ok := to.Annotations[keptAnnotation]; ok {
		delete(to.Annotations, keptAnnotation)
		var k kept
		// Somebody may have written it by hand: what can't be read is as if
		// it was not there.
		if json.Unmarshal([]byte(raw), &k) == nil {
			to.Spec.Image, to.Spec.Port, to.Status = k.Image, k.Port, k.Status
		}
	}
	to.Status.URL = w.Status.URL
	return nil
}

// ConvertFrom makes this site what a v1 is.
func (w *Website) ConvertFrom(hub conversion.Hub) error {
	from, ok := hub.(*v1.Website)
	if !ok {
		return fmt.Errorf("convert Website %s/%s: %T is not v1", w.Namespace, w.Name, hub)
	}
	w.ObjectMeta = *from.ObjectMeta.DeepCopy()
	w.Spec = WebsiteSpec{Message: from.Spec.Greeting, Size: from.Spec.Replicas}
	available := meta.FindStatusCondition(from.Status.Conditions, v1.Available)
	w.Status = WebsiteStatus{Ready: available != nil && available.Status == metav1.ConditionTrue, URL: from.Status.URL}
	raw, err := json.Marshal(kept{Image: from.Spec.Image, Port: from.Spec.Port, Status: from.Status})
	if err != nil {
		return fmt.Errorf("convert Website %s/%s: %w", w.Namespace, w.Name, err)
	}
	w.Annotations = maps.Clone(w.Annotations)
	metav1.SetMetaDataAnnotation(&w.ObjectMeta, keptAnnotation, string(raw))
	return nil
}

package allocation_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/allocation"
)

func TestOrder(t *testing.T) {
	wish := func(uid types.UID, has, wants string, change ...func(*allocation.Wish)) allocation.Wish {
		w := allocation.Wish{Pod: pod(uid, wants), Allocated: pod(uid, has)}
		for _, f := range change {
			f(&w)
		}
		return w
	}
	priority := func(n int32) func(*allocation.Wish) {
		return func(w *allocation.Wish) { w.Pod.Spec.Priority = &n }
	}
	class := func(q corev1.PodQOSClass) func(*allocation.Wish) {
		return func(w *allocation.Wish) { w.Pod.Status.QOSClass = q }
	}
	waiting := func(d time.Duration) func(*allocation.Wish) {
		return func(w *allocation.Wish) { w.Since = time.Unix(0, 0).Add(-d) }
	}
	for _, tt := range []struct {
		name   string
		wishes []allocation.Wish
		want   string
	}{
		{"who wants less comes before who is important", []allocation.Wish{wish("more", "1", "2", priority(9)), wish("less", "2", "1")}, "less more"},
		{"then priority counts", []allocation.Wish{wish("low", "1", "2", class(corev1.PodQOSGuaranteed)), wish("high", "1", "2", priority(1))}, "high low"},
		{"then the class", []allocation.Wish{wish("burstable", "1", "2", waiting(time.Hour)), wish("guaranteed", "1", "2", class(corev1.PodQOSGuaranteed))}, "guaranteed burstable"},
		{"then who waits longer", []allocation.Wish{wish("new", "1", "2"), wish("short", "1", "2", waiting(time.Minute)), wish("long", "1", "2", waiting(time.Hour))}, "long short new"},
		{"and always in the same order", []allocation.Wish{wish("b", "1", "2"), wish("c", "1", "2"), wish("a", "1", "2")}, "a b c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allocation.Order(tt.wishes)
			var got []string
			for _, w := range tt.wishes {
				got = append(got, string(w.Pod.UID))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

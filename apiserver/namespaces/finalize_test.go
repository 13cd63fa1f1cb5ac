package namespaces_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestADeletionSaysWhatBecomesOfDependents(t *testing.T) {
	t.Parallel()
	k, err := kubernetes.NewForConfig(clustertest.APIServer(t).RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		before  []string
		options metav1.DeleteOptions
		want    []string
	}{
		{"nothing is said", []string{"example.com/a", "orphan"}, metav1.DeleteOptions{}, []string{"example.com/a", "orphan"}},
		{"they go first", []string{"example.com/a"}, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}, []string{"example.com/a", "foregroundDeletion"}},
		{"they stay", []string{"foregroundDeletion"}, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)}, []string{"orphan"}},
		{"they go later", []string{"example.com/a", "orphan"}, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}, []string{"example.com/a"}},
		{"they stay, as old clients say it", nil, metav1.DeleteOptions{OrphanDependents: ptr.To(true)}, []string{"orphan"}},             //nolint:staticcheck // clients still send it
		{"they do not stay", []string{"orphan"}, metav1.DeleteOptions{OrphanDependents: ptr.To(false)}, []string{"foregroundDeletion"}}, //nolint:staticcheck // see above
	} {
		t.Run(c.name, func(t *testing.T) {
			api := k.CoreV1().Namespaces()
			ns, err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Finalizers: c.before}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := api.Delete(t.Context(), ns.Name, c.options); err != nil {
				t.Fatal(err)
			}
			ns, err = api.Get(t.Context(), ns.Name, metav1.GetOptions{})
			if err != nil || ns.DeletionTimestamp == nil || !slices.Equal(ns.Finalizers, c.want) {
				t.Errorf("%v %+v", err, ns)
			}
		})
	}
}

package apiserver_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestListsOfEventsNameTheirKindOnce looks at the items of the one resource
// whose lists come from no cache.
func TestListsOfEventsNameTheirKindOnce(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	if _, err := k.CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "a"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	raw, err := k.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/events").SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Kind  string           `json:"kind"`
		Items []map[string]any `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil || list.Kind != "EventList" || len(list.Items) != 1 {
		t.Fatalf("%v %s", err, raw)
	}
	if item := list.Items[0]; item["kind"] != nil || item["apiVersion"] != nil {
		t.Errorf("%v", item)
	}
}

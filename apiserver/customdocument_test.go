package apiserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// checkDocuments looks at what OpenAPI tells of a custom resource with versions
// v1 and v1beta1, whose v1 has a field masts, and changes its v1.
func checkDocuments(t *testing.T, r *raw, group, resource string) {
	t.Helper()
	document := "/openapi/v3/apis/" + group + "/v1"
	first := r.get(document)
	for range 3 { // the library asks for it again each time
		if a := r.get(document); a.code != http.StatusOK || string(a.body) != string(first.body) {
			t.Fatalf("%s, asked again: %d %.300s", document, a.code, a.body)
		}
	}
	for path, want := range map[string]string{
		document:                                 `"/apis/` + group + `/v1/namespaces/{namespace}/` + resource + `/{name}/status"`,
		"/openapi/v3/apis/" + group + "/v1beta1": `"/apis/` + group + `/v1beta1/namespaces/{namespace}/` + resource + `"`,
		"/openapi/v3":                            `"apis/` + group + `/v1beta1":{"serverRelativeURL":"/openapi/v3/apis/` + group + `/v1beta1?hash=`,
		"/openapi/v2":                            `"/apis/` + group + `/v1/namespaces/{namespace}/` + resource + `/{name}/scale"`,
	} {
		if a := r.get(path); a.code != http.StatusOK || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d without %s: %.300s", path, a.code, want, a.body)
		}
	}
	definition := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + resource + "." + group
	change := `[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/sails", "value": {"type": "integer"}}]`
	if a := r.do("PATCH", definition, change, "Content-Type", "application/json-patch+json"); a.code != http.StatusOK {
		t.Fatalf("change: %d %s", a.code, a.body)
	}
	eventually(t, func() error {
		for _, path := range []string{document, "/openapi/v2"} {
			if a := r.get(path); a.code != http.StatusOK || !strings.Contains(string(a.body), `"sails":{"type":"integer"`) || !strings.Contains(string(a.body), `"masts"`) {
				return fmt.Errorf("%s: %d %.300s", path, a.code, a.body)
			}
		}
		return nil
	})
	if a := r.get("/openapi/v2"); !strings.Contains(string(a.body), `"io.k8s.api.apps.v1.Deployment"`) {
		t.Error("the document of v2 tells no longer of built-in kinds")
	}
}

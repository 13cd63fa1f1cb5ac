package apiserver_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// twoVersions is the definition of a kind that a webhook converts.
const twoVersions = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]s.bad.example.com"},
"spec":{"group":"bad.example.com","scope":"Namespaced","names":{"plural":%[1]q,"kind":%[1]q},
"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":%[2]q,"caBundle":%[3]q}}},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},
{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`

func TestConversionsThatLie(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	r := inMemory(t, c)
	// converted answers with the objects as they should be, but for a change.
	converted := func(change func(uid *string, objects []map[string]any) []map[string]any) func(http.ResponseWriter, *apiextensionsv1.ConversionRequest) {
		return func(w http.ResponseWriter, req *apiextensionsv1.ConversionRequest) {
			var objects []map[string]any
			for _, raw := range req.Objects {
				o := map[string]any{}
				_ = json.Unmarshal(raw.Raw, &o) // the API server's own
				o["apiVersion"] = req.DesiredAPIVersion
				objects = append(objects, o)
			}
			uid := string(req.UID)
			objects = change(&uid, objects)
			_ = json.NewEncoder(w).Encode(map[string]any{
				"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
				"response": map[string]any{"uid": uid, "convertedObjects": objects, "result": map[string]any{"status": "Success"}},
			})
		}
	}
	metadata := func(field string, value any) func(*string, []map[string]any) []map[string]any {
		return func(_ *string, objects []map[string]any) []map[string]any {
			for _, o := range objects {
				o["metadata"].(map[string]any)[field] = value
			}
			return objects
		}
	}
	for i, h := range []struct {
		name   string
		answer func(http.ResponseWriter, *apiextensionsv1.ConversionRequest)
		want   string // "" where the answer is good
	}{
		{"is honest", converted(func(_ *string, o []map[string]any) []map[string]any { return o }), ""},
		{"hangs", nil, "no answer"},
		{"speaks no JSON", func(w http.ResponseWriter, _ *apiextensionsv1.ConversionRequest) { _, _ = io.WriteString(w, "<html>") }, "failed"},
		{"sends an endless answer", func(w http.ResponseWriter, _ *apiextensionsv1.ConversionRequest) {
			for chunk := bytes.Repeat([]byte(" "), 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "the answer is longer than"},
		{"redirects for ever", func(w http.ResponseWriter, _ *apiextensionsv1.ConversionRequest) {
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "stopped after 10 redirects"},
		{"answers another request", converted(func(uid *string, o []map[string]any) []map[string]any {
			*uid = "other"
			return o
		}), "response.uid"},
		{"converts to nothing", converted(func(*string, []map[string]any) []map[string]any { return nil }), "expected"},
		{"converts to another version", converted(func(_ *string, o []map[string]any) []map[string]any {
			for i := range o {
				o[i]["apiVersion"] = "bad.example.com/v3"
			}
			return o
		}), "groupVersion"},
		{"makes it another object", converted(metadata("name", "other")), "must have the same name"},
		{"makes it another namespace's", converted(metadata("namespace", "kube-system")), "must have the same namespace"},
		{"gives it another UID", converted(metadata("uid", "lie")), "must have the same UID"},
	} {
		t.Run(h.name, func(t *testing.T) {
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				review := &apiextensionsv1.ConversionReview{}
				body, err := io.ReadAll(req.Body)
				if err == nil {
					err = json.Unmarshal(body, review)
				}
				switch {
				case h.answer == nil: // until the API server gives up
					<-req.Context().Done()
					return
				case err != nil || review.Request == nil:
					review.Request = &apiextensionsv1.ConversionRequest{Objects: []runtime.RawExtension{}}
				}
				w.Header().Set("Content-Type", "application/json")
				h.answer(w, review.Request)
			}))
			t.Cleanup(func() {
				s.CloseClientConnections() // of those that wait
				s.Close()
			})
			plural := fmt.Sprintf("liars%d", i)
			ca := base64.StdEncoding.EncodeToString(certificateOf(s))
			if a := r.do("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", fmt.Sprintf(twoVersions, plural, s.URL, ca)); a.code != http.StatusCreated {
				t.Fatalf("%d %s", a.code, a.body)
			}
			path := func(version string) string {
				return "/apis/bad.example.com/" + version + "/namespaces/default/" + plural
			}
			body := fmt.Sprintf(`{"apiVersion":"bad.example.com/v1","kind":%q,"metadata":{"name":"a"},"spec":{"a":1}}`, plural)
			eventually(t, func() error {
				if a := r.do("POST", path("v1"), body); a.code != http.StatusCreated {
					return fmt.Errorf("%d %.200s", a.code, a.body)
				}
				return nil
			})
			if h.answer == nil {
				// The API server waits for half a minute, others wait for nothing.
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				err := clientset(t, c.RESTConfig()).CoreV1().RESTClient().Get().AbsPath(path("v2") + "/a").Do(ctx).Error()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				return
			}
			got := r.get(path("v2") + "/a")
			if h.want == "" {
				if got.code != http.StatusOK || !strings.Contains(string(got.body), "bad.example.com/v2") {
					t.Errorf("%d %s", got.code, got.body)
				}
				return
			}
			refused(t, h.name, got, http.StatusInternalServerError, h.want)
			// What is stored is as it was.
			if a := r.get(path("v1") + "/a"); a.code != http.StatusOK || !strings.Contains(string(a.body), `"spec":{"a":1}`) {
				t.Errorf("stored: %d %s", a.code, a.body)
			}
		})
	}
	alive(t, r)
}

package apiserver_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

const maps = "/api/v1/namespaces/default/configmaps"

func TestBadRequestsAreAnsweredAsKubernetesDoes(t *testing.T) {
	t.Parallel()
	r := rawTo(t, access(t, socket(t, nil)))
	good := `{"metadata":{"name":"a"}}`
	r.do("POST", maps, good)
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		reason                   metav1.StatusReason
		message                  string
	}{
		{"a route that is not there", "GET", "/nothing", "", nil, 404, "", ""},
		{"a kind that is not there", "GET", "/api/v1/gadgets", "", nil, 404, metav1.StatusReasonNotFound, "the server could not find the requested resource"},
		{"a group that is not there", "GET", "/apis/example.com/v1/things", "", nil, 404, "", ""},
		{"an object that is not there", "GET", maps + "/none", "", nil, 404, metav1.StatusReasonNotFound, `configmaps "none" not found`},
		{"a method that the resource does not have", "POST", maps + "/a", good, nil, 405, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource"},
		{"all namespaces at once", "DELETE", "/api/v1/namespaces", "", nil, 405, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource"},
		{"broken JSON", "POST", maps, `{"metadata":`, nil, 400, metav1.StatusReasonBadRequest, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"metadata\":)"},
		{"a value of another type", "POST", maps, `{"metadata":{"name":"b"},"data":{"a":1}}`, nil, 400, metav1.StatusReasonBadRequest, `ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string`},
		{"another kind", "POST", maps, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}`, nil, 400, metav1.StatusReasonBadRequest, "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (v1.ConfigMap): unknown conversion"},
		{"another version", "POST", maps, `{"apiVersion":"apps/v1","kind":"ConfigMap","metadata":{"name":"b"}}`, nil, 400, metav1.StatusReasonBadRequest, ""},
		{"another namespace", "POST", maps, `{"metadata":{"name":"b","namespace":"other"}}`, nil, 400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request"},
		{"another name", "PUT", maps + "/a", `{"metadata":{"name":"b"}}`, nil, 400, metav1.StatusReasonBadRequest, "the name of the object (b) does not match the name on the URL (a)"},
		{"no name", "POST", maps, `{}`, nil, 422, metav1.StatusReasonInvalid, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		{"a bad name", "POST", maps, `{"metadata":{"name":"A_"}}`, nil, 422, metav1.StatusReasonInvalid, `ConfigMap "A_" is invalid: metadata.name: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		{"the same name again", "POST", maps, good, nil, 409, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`},
		{"a namespace that is not there", "POST", "/api/v1/namespaces/none/configmaps", good, nil, 404, metav1.StatusReasonNotFound, `namespaces "none" not found`},
		{"an answer in a form that there is not", "GET", maps + "/a", "", []string{"Accept", "text/plain"}, 406, metav1.StatusReasonNotAcceptable, "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"a body in a form that there is not", "POST", maps, good, []string{"Content-Type", "text/plain"}, 415, metav1.StatusReasonUnsupportedMediaType, "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"a patch of a kind that there is not", "PATCH", maps + "/a", `{}`, nil, 415, metav1.StatusReasonUnsupportedMediaType, "415: Unsupported Media Type"},
		{"a broken patch", "PATCH", maps + "/a", `{`, []string{"Content-Type", "application/merge-patch+json"}, 400, metav1.StatusReasonBadRequest, ""},
		{"a JSON patch that does not fit", "PATCH", maps + "/a", `[{"op":"test","path":"/data/x","value":"1"}]`, []string{"Content-Type", "application/json-patch+json"}, 422, metav1.StatusReasonInvalid, ""},
		{"a body that is too large", "POST", maps, `{"metadata":{"name":"b"},"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`, nil, 413, metav1.StatusReasonRequestEntityTooLarge, "Request entity too large: limit is 3145728"},
		{"a dry run of some kind", "POST", maps + "?dryRun=Some", `{"metadata":{"name":"b"}}`, nil, 422, metav1.StatusReasonInvalid, `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"`},
		{"a field validation of some kind", "POST", maps + "?fieldValidation=Some", `{"metadata":{"name":"b"}}`, nil, 422, metav1.StatusReasonInvalid, ""},
		{"a broken label selector", "GET", maps + "?labelSelector=a%20b%20c", "", nil, 400, metav1.StatusReasonBadRequest, ""},
		{"a field that cannot be selected by", "GET", maps + "?fieldSelector=data.a%3Db", "", nil, 400, metav1.StatusReasonBadRequest, ""},
		{"a resource version that is none", "GET", maps + "?resourceVersion=a", "", nil, 400, metav1.StatusReasonBadRequest, ""},
		{"a broken continue", "GET", maps + "?limit=1&continue=a", "", nil, 400, metav1.StatusReasonBadRequest, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.do(c.method, c.path, c.body, c.headers...)
			if a.code != c.code {
				t.Fatalf("code %d: %s", a.code, a.body)
			}
			if c.reason == "" {
				return
			}
			s := a.status(t)
			if s.Kind != "Status" || s.APIVersion != "v1" || s.Status != "Failure" || int(s.Code) != c.code || s.Reason != c.reason {
				t.Errorf("%s", a.body)
			}
			if c.message != "" && s.Message != c.message {
				t.Errorf("message %q,\nwant %q", s.Message, c.message)
			}
		})
	}
}

func TestPathsOutsideOfTheAPI(t *testing.T) {
	t.Parallel()
	r := rawTo(t, access(t, socket(t, nil)))
	for _, c := range []struct{ path, has string }{
		{"/healthz", "ok"},
		{"/livez", "ok"},
		{"/readyz", "ok"},
		{"/healthz/etcd", "ok"},
		{"/healthz/ping", "ok"},
		{"/livez?verbose", "[+]ping ok\n"},
		{"/livez?verbose", "livez check passed\n"},
		{"/readyz?verbose", "[+]etcd ok\n"},
		{"/readyz?verbose&exclude=etcd", "readyz check passed\n"},
		{"/metrics", "apiserver_request_total{"},
		{"/metrics", "# TYPE apiserver_request_duration_seconds histogram"},
		{"/version", `"gitVersion": "v1.37.2+skiff"`},
		{"/version", `"major": "1"`},
		{"/version", `"minor": "37"`},
		{"/api", `"versions":["v1"]`},
		{"/apis", `"kind":"APIGroupList"`},
		{"/", `"/api/v1"`},
		{"/", `"/healthz/etcd"`},
		{"/openapi/v3", `"api/v1"`},
	} {
		a := r.get(c.path)
		if a.code != http.StatusOK || !strings.Contains(string(a.body), c.has) {
			t.Errorf("%s: %d, without %q: %.300s", c.path, a.code, c.has, a.body)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	r := rawTo(t, access(t, socket(t, nil)))
	r.do("POST", maps, `{"metadata":{"name":"a"},"data":{"k":"v"}}`)
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	for _, media := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"} {
		t.Run(media, func(t *testing.T) {
			a := r.get(maps+"/a", "Accept", media)
			if a.code != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), media) {
				t.Fatalf("%d %s", a.code, a.header)
			}
			info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
			if !ok {
				t.Fatal("the client does not know it")
			}
			m := &corev1.ConfigMap{}
			if _, _, err := info.Serializer.Decode(a.body, &schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, m); err != nil || m.Data["k"] != "v" {
				t.Fatalf("%v %+v", err, m)
			}
			name := strings.NewReplacer("/", "-", ".", "-").Replace(media)
			m = &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": "v"}}
			body, err := runtime.Encode(info.Serializer, m)
			if err != nil {
				t.Fatal(err)
			}
			if a := r.do("POST", maps, string(body), "Content-Type", media, "Accept", media); a.code != 201 {
				t.Errorf("%d %s", a.code, a.body)
			}
			var back corev1.ConfigMap
			r.get(maps+"/"+name).into(t, &back)
			if back.Data["k"] != "v" {
				t.Errorf("%+v", back)
			}
		})
	}
}

func TestTablesAndPartialObjects(t *testing.T) {
	t.Parallel()
	r := rawTo(t, access(t, socket(t, nil)))
	r.do("POST", maps, `{"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}}`)
	var table metav1.Table
	r.get(maps+"?labelSelector=x", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").into(t, &table)
	if table.Kind != "Table" || table.APIVersion != "meta.k8s.io/v1" || len(table.Rows) != 1 || fmt.Sprint(table.Rows[0].Cells[:2]) != "[a 1]" {
		t.Errorf("%+v", table)
	}
	var names []string
	for _, c := range table.ColumnDefinitions {
		names = append(names, c.Name)
	}
	if fmt.Sprint(names) != "[Name Data Age]" || table.ResourceVersion == "" {
		t.Errorf("columns %v, version %q", names, table.ResourceVersion)
	}
	var partial metav1.PartialObjectMetadata
	if err := json.Unmarshal(table.Rows[0].Object.Raw, &partial); err != nil || partial.Kind != "PartialObjectMetadata" || partial.Labels["x"] != "y" {
		t.Errorf("%v %s", err, table.Rows[0].Object.Raw)
	}
	for object, want := range map[string]string{"None": "null", "Object": `"data":{"k":"v"}`, "Metadata": `"PartialObjectMetadata"`} {
		a := r.get(maps+"?labelSelector=x&includeObject="+object, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
		if !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s", object, a.body)
		}
	}
	r.get(maps+"/a", "Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").into(t, &partial)
	if partial.Name != "a" || partial.UID == "" {
		t.Errorf("%+v", partial)
	}
	var list metav1.PartialObjectMetadataList
	r.get(maps+"?labelSelector=x", "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").into(t, &list)
	if list.Kind != "PartialObjectMetadataList" || len(list.Items) != 1 {
		t.Errorf("%+v", list)
	}
	if a := r.get(maps, "Accept", "application/json;as=Picture;v=v1;g=meta.k8s.io"); a.code != 406 {
		t.Errorf("%d %s", a.code, a.body)
	}
}

func TestTLSIsModern(t *testing.T) {
	t.Parallel()
	cfg := access(t, socket(t, nil))
	addr := strings.TrimPrefix(cfg.Host, "https://")
	for _, c := range []struct {
		name string
		max  uint16
		ok   bool
	}{{"TLS 1.1 is refused", tls.VersionTLS11, false}, {"TLS 1.2 is spoken", tls.VersionTLS12, true}, {"TLS 1.3 is spoken", tls.VersionTLS13, true}} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: c.max, NextProtos: []string{"h2"}}) //nolint:gosec // what is refused is tried
			if (err == nil) != c.ok {
				t.Fatalf("%v", err)
			}
			if err == nil {
				if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
					t.Errorf("protocol %q", p)
				}
				_ = conn.Close()
			}
		})
	}
}

package apiserver_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	jwt "github.com/golang-jwt/jwt/v5"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// inMemory speaks HTTP to a server of this process, as admin.
func inMemory(t testing.TB, c *clustertest.Cluster) *raw {
	t.Helper()
	return rawTo(t, asJSON(c.RESTConfig()))
}

// alive sees that the server still answers, and keeps what it is given.
func alive(t *testing.T, r *raw) {
	t.Helper()
	if a := r.get("/readyz"); a.code != http.StatusOK {
		t.Fatalf("readyz: %d %s", a.code, a.body)
	}
	name := fmt.Sprintf("alive-%d", time.Now().UnixNano())
	if a := r.do("POST", "/api/v1/namespaces/default/configmaps", configMap(name, "")); a.code != http.StatusCreated {
		t.Fatalf("create: %d %.200s", a.code, a.body)
	}
}

func configMap(name, data string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q},"data":{"a":%q}}`, name, data)
}

// refused sees that an answer is a Status of this code whose message has all
// the parts.
func refused(t *testing.T, what string, a answer, code int, parts ...string) {
	t.Helper()
	if a.code != code {
		t.Errorf("%s: code %d, want %d: %.400s", what, a.code, code, a.body)
		return
	}
	s := a.status(t)
	if s.Kind != "Status" || s.Status != metav1.StatusFailure || int(s.Code) != code {
		t.Errorf("%s: %.400s", what, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(s.Message, p) {
			t.Errorf("%s: message %.600q, want in it %q", what, s.Message, p)
		}
	}
}

// nested is text in n pairs of brackets.
func nested(open, middle, closing string, n int) string {
	return strings.Repeat(open, n) + middle + strings.Repeat(closing, n)
}

// definition is a CustomResourceDefinition of the plural with a schema of spec.
func definition(plural, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]s.bad.example.com"},
"spec":{"group":"bad.example.com","scope":"Namespaced","names":{"plural":%[1]q,"kind":%[1]q},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":%[2]s}}}}]}}`, plural, spec)
}

func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	r := inMemory(t, clustertest.APIServer(t))
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	lists := `{"type":"string"}`
	for range 4 {
		lists = `{"type":"array","items":` + lists + `}`
	}
	for _, c := range []struct {
		name, plural, schema string
		code                 int
		want                 []string
	}{
		{
			"references may not be", "refs", `{"type":"object","properties":{"a":{"$ref":"#/definitions/a"}}}`, 422,
			[]string{"$ref: Forbidden: $ref is not supported"},
		},
		{
			"a rule that costs too much", "costs",
			`{"type":"object","properties":{"a":` + lists + `},"x-kubernetes-validations":[{"rule":"self.a.all(b, b.all(c, c.all(d, d.all(e, e.contains('x')))))"}]}`, 422,
			[]string{"exceeds budget by factor of"},
		},
		{
			"a rule that is no expression", "rules", `{"type":"object","x-kubernetes-validations":[{"rule":"self.((("}]}`, 422,
			[]string{"compilation failed"},
		},
		{"a pattern that is none", "patterns", `{"type":"string","pattern":"(a"}`, 422, []string{"must be a valid regular expression"}},
		{"a pattern that grows", "growing", `{"type":"string","pattern":"((a{1000}){1000}){1000}"}`, 422, []string{"must be a valid regular expression"}},
		{"ten thousand levels", "deep", nested(`{"type":"array","items":`, `{"type":"string"}`, "}", 10_000), 400, []string{"exceeded max depth"}},
		{"no structure", "shapeless", `{"properties":{"a":{}}}`, 422, []string{"type: Required value: must not be empty for specified object fields"}},
	} {
		refused(t, c.name, r.do("POST", path, definition(c.plural, c.schema)), c.code, c.want...)
	}
	// An enumeration of a megabyte is served, and a refusal is no longer than it.
	values := make([]string, 60_000)
	for i := range values {
		values[i] = fmt.Sprintf(`"v%05d"`, i)
	}
	if a := r.do("POST", path, definition("enums", `{"type":"string","enum":[`+strings.Join(values, ",")+`]}`)); a.code != http.StatusCreated {
		t.Fatalf("%d %.300s", a.code, a.body)
	}
	eventually(t, func() error {
		a := r.do("POST", "/apis/bad.example.com/v1/namespaces/default/enums", `{"apiVersion":"bad.example.com/v1","kind":"enums","metadata":{"name":"a"},"spec":"none"}`)
		if a.code != http.StatusUnprocessableEntity || len(a.body) > 4<<20 {
			return fmt.Errorf("%d of %d bytes: %.200s", a.code, len(a.body), a.body)
		}
		return nil
	})
	// A pattern that other engines take exponential time for is served.
	if a := r.do("POST", path, definition("slowly", `{"type":"string","pattern":"^(a+)+$"}`)); a.code != http.StatusCreated {
		t.Fatalf("%d %s", a.code, a.body)
	}
	const objects = "/apis/bad.example.com/v1/namespaces/default/slowly"
	body := `{"apiVersion":"bad.example.com/v1","kind":"slowly","metadata":{"name":"a"},"spec":"` + strings.Repeat("a", 100_000) + `!"}`
	eventually(t, func() error {
		if a := r.do("POST", objects, body); a.code != http.StatusUnprocessableEntity {
			return fmt.Errorf("%d %.200s", a.code, a.body)
		}
		return nil
	})
	alive(t, r)
}

// TestDefaultsThatGrow has small objects that a definition's defaults make large: a
// list of a thousand empty objects, each of which gets a hundred kilobytes.
func TestDefaultsThatGrow(t *testing.T) {
	t.Parallel()
	r := inMemory(t, clustertest.APIServer(t))
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	each := func(size int) string {
		return `{"type":"array","items":{"type":"object","properties":{"a":{"type":"string","default":"` + strings.Repeat("x", size) + `"}}}}`
	}
	if a := r.do("POST", definitions, definition("growing", each(100_000))); a.code != http.StatusCreated {
		t.Fatalf("%d %.300s", a.code, a.body)
	}
	const path = "/apis/bad.example.com/v1/namespaces/default/growing"
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	object := func(name string, n int) string {
		return fmt.Sprintf(`{"apiVersion":"bad.example.com/v1","kind":"growing","metadata":{"name":%q},"spec":%s}`, name, list(n))
	}
	eventually(t, func() error {
		if a := r.do("POST", path, object("a", 3)); a.code != http.StatusCreated || len(a.body) < 300_000 {
			return fmt.Errorf("%d, %d bytes: %.200s", a.code, len(a.body), a.body)
		}
		return nil
	})
	const message = "the defaults of its definition make the object 100002000 bytes longer"
	refused(t, "created", r.do("POST", path, object("b", 1000)), 413, message)
	yaml := "apiVersion: bad.example.com/v1\nkind: growing\nmetadata: {name: b}\nspec: [&e {}" + strings.Repeat(",*e", 999) + "]"
	refused(t, "created by YAML", r.do("POST", path, yaml, "Content-Type", "application/yaml"), 413, message)
	refused(t, "updated", r.do("PUT", path+"/a", object("a", 1000)), 413, message)
	for media, patch := range map[string]string{
		"application/merge-patch+json": `{"spec":` + list(1000) + `}`,
		"application/json-patch+json":  `[{"op":"replace","path":"/spec","value":` + list(1000) + `}]`,
	} {
		refused(t, media, r.do("PATCH", path+"/a", patch, "Content-Type", media), 413, message)
	}
	refused(t, "applied", r.do("PATCH", path+"/a?fieldManager=m", object("a", 1000), "Content-Type", "application/apply-patch+yaml"), 413, message)
	alive(t, r)
}

// TestDeepCustomResources has objects that can be read when they come, and could
// not be any more with their managed fields, or in a list.
func TestDeepCustomResources(t *testing.T) {
	t.Parallel()
	r := inMemory(t, clustertest.APIServer(t))
	if a := r.do("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition("deep", `{"x-kubernetes-preserve-unknown-fields":true}`)); a.code != http.StatusCreated {
		t.Fatalf("%d %.300s", a.code, a.body)
	}
	const path = "/apis/bad.example.com/v1/namespaces/default/deep"
	object := func(name string, levels int) string {
		// Lists, since to know the managers of nested fields takes time by the square.
		return fmt.Sprintf(`{"apiVersion":"bad.example.com/v1","kind":"deep","metadata":{"name":%q},"spec":%s}`, name, nested("[", "1", "]", levels-1))
	}
	eventually(t, func() error {
		if a := r.do("POST", path, object("shallow", 9800)); a.code != http.StatusCreated {
			return fmt.Errorf("%d %.200s", a.code, a.body)
		}
		return nil
	})
	refused(t, "9,998 levels", r.do("POST", path, object("deep", 9998)), 413, "fields are nested", "at most 9900 can be stored")
	patch := `{"spec":` + nested("[", "1", "]", 9950) + `}`
	refused(t, "9,950 levels by a patch", r.do("PATCH", path+"/shallow", patch, "Content-Type", "application/merge-patch+json"), 413, "at most 9900 can be stored")
	if a := r.get(path); a.code != http.StatusOK || !strings.Contains(string(a.body), `"name":"shallow"`) || strings.Contains(string(a.body), `"name":"deep"`) {
		t.Errorf("all: %d %.200s", a.code, a.body)
	}
	alive(t, r)
}

// labels are so many labels, without braces.
func labels(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"l%05d":"v"`, i)
	}
	return strings.Join(all, ",")
}

func TestHostileBodies(t *testing.T) {
	t.Parallel()
	r := inMemory(t, clustertest.APIServer(t))
	const path = "/api/v1/namespaces/default/configmaps"
	const mb = 1 << 20
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		if _, err := z.Write(make([]byte, mb)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body string
		headers    []string
		code       int
		want       []string
	}{
		{"more than three megabytes", configMap("a", strings.Repeat("x", 3*mb)), nil, 413, []string{"Request entity too large: limit is 3145728"}},
		{"more than a ConfigMap may hold", configMap("a", strings.Repeat("x", mb+1)), nil, 422, []string{"Too long: may not be more than 1048576 bytes"}},
		{"deeper than anybody reads", `{"metadata":` + nested("[", "", "]", 100_000) + `}`, nil, 400, []string{"exceeded max depth"}},
		{"deep YAML", "a: " + nested("[", "", "]", 100_000), []string{"Content-Type", "application/yaml"}, 400, []string{"exceeded max depth"}},
		{
			"YAML that refers to itself ten times over",
			"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
				"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n" +
				"g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\n",
			[]string{"Content-Type", "application/yaml"}, 400, []string{"excessive aliasing"},
		},
		{"a gzip bomb", bomb.String(), []string{"Content-Encoding", "gzip"}, 400, nil},
		{"protobuf that is none", "k8s\x00\xff\xff\xff\xff\xff\xff\xff\xff", []string{"Content-Type", "application/vnd.kubernetes.protobuf"}, 400, nil},
		{"a type that is not known", "x", []string{"Content-Type", "text/html"}, 415, []string{"the body of the request was in an unknown format"}},
		{"an answer that is not known", configMap("b", ""), []string{"Accept", "image/png"}, 406, []string{"Not Acceptable", "Available representations: application/json"}},
		{"a name that is a path", configMap("../../secrets/a", ""), nil, 422, []string{"metadata.name: Invalid value"}},
		{"annotations that are too long", `{"metadata":{"name":"a","annotations":{"a":"` + strings.Repeat("x", 300<<10) + `"}}}`, nil, 422, []string{"metadata.annotations: Too long"}},
		{"another kind", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`, nil, 400, []string{"cannot be handled as a ConfigMap"}},
		{"nothing", "null", nil, 422, []string{"name or generateName is required"}},
	} {
		refused(t, c.name, r.do("POST", path, c.body, c.headers...), c.code, c.want...)
	}
	alive(t, r)
	// Twenty thousand labels are many, and no fault. (What the library does to know
	// their managers takes time by the square: some seconds for a hundred thousand.)
	if a := r.do("POST", path, `{"metadata":{"name":"labels","labels":{`+labels(20_000)+`}}}`); a.code != 201 {
		t.Fatalf("%d %.200s", a.code, a.body)
	}
	if a := r.get(path + "?labelSelector=l19999%3Dv"); a.code != 200 || !strings.Contains(string(a.body), `"name":"labels"`) {
		t.Errorf("%d %.200s", a.code, a.body)
	}
	if a := r.do("POST", path, configMap("p", "")); a.code != 201 {
		t.Fatal(a.code)
	}
	patches := strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/data","path":"/data/a"},`, 11_000), ",")
	for _, c := range []struct {
		name, patch, media string
		code               int
		want               string
	}{
		{"too many operations", "[" + patches + "]", "application/json-patch+json", 413, "The allowed maximum operations in a JSON patch is 10000"},
		{"no patch", `{"op":1}`, "application/json-patch+json", 400, ""},
		{"deep patch", nested(`{"a":`, "1", "}", 20_000), "application/merge-patch+json", 400, ""},
		{"an unknown sort of patch", "{}", "application/xml", 415, "Unsupported Media Type"},
	} {
		refused(t, c.name, r.do("PATCH", path+"/p", c.patch, "Content-Type", c.media), c.code, c.want)
	}
	alive(t, r)
}

func TestHostileQueries(t *testing.T) {
	t.Parallel()
	r := inMemory(t, clustertest.APIServer(t))
	const path = "/api/v1/namespaces/default/configmaps"
	for _, c := range []struct {
		name, query string
		code        int
		want        string
	}{
		{"a negative version", "resourceVersion=-1", 400, `invalid resource version`},
		{"a watch from a negative version", "watch=1&resourceVersion=-1", 500, `resourceVersion: Invalid value: "-1"`},
		{"a version that is a word", "resourceVersion=abc", 400, `invalid resource version`},
		{"a limit beyond all numbers", "limit=99999999999999999999", 400, "value out of range"},
		{"a token of nobody", "limit=1&continue=AAAA", 400, "continue key is not valid"},
		{"a token that leaves the resource", "limit=1&continue=" + base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/"}`)), 400, "continue key is not valid"},
		{"a selector that is none", "labelSelector=" + url.QueryEscape("a in (b"), 400, "unable to parse requirement"},
		{"a field that is not there", "fieldSelector=spec.a%3Db", 400, "is not a known field selector"},
		{"a match without a version", "resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
	} {
		refused(t, c.name, r.get(path+"?"+c.query), c.code, c.want)
	}
	// 20,000 requirements are many, and no fault.
	long := strings.TrimSuffix(strings.Repeat("a!=b,", 20_000), ",")
	if a := r.get(path + "?labelSelector=" + url.QueryEscape(long)); a.code != http.StatusOK {
		t.Errorf("a long selector: %d %.200s", a.code, a.body)
	}
	for what, manager := range map[string]string{"a long manager": strings.Repeat("m", 129), "a manager without letters": "\x01"} {
		refused(t, what, r.do("POST", path+"?fieldManager="+url.QueryEscape(manager), configMap("a", "")), 422, "fieldManager: ")
	}
	// Only the last ten managers of updates are told apart.
	if a := r.do("POST", path+"?fieldManager=first", configMap("a", "")); a.code != 201 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	var last answer
	for i := range 40 {
		last = r.do("PATCH", fmt.Sprintf("%s/a?fieldManager=manager-%d", path, i), fmt.Sprintf(`{"data":{"k%d":"v"}}`, i), "Content-Type", "application/merge-patch+json")
	}
	var cm corev1.ConfigMap
	last.into(t, &cm)
	if n := len(cm.ManagedFields); n > 11 || len(cm.Data) != 41 {
		t.Errorf("%d managers of %d fields", n, len(cm.Data))
	}
	alive(t, r)
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	k := clientset(t, c.RESTConfig())
	account(t, k, "default")
	good, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(good.Status.Token, &claims); err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(m jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		again := jwt.MapClaims{}
		for name, v := range claims {
			again[name] = v
		}
		change(again)
		text, err := jwt.NewWithClaims(m, again).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	keep := func(jwt.MapClaims) {}
	named := func(kid string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		token.Header["kid"] = kid
		text, err := token.SignedString(other)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	parts := strings.Split(good.Status.Token, ".")
	later := jwt.MapClaims{}
	for name, v := range claims {
		later[name] = v
	}
	later["sub"] = "system:serviceaccount:kube-system:admin"
	body, err := jwt.NewWithClaims(jwt.SigningMethodES256, later).SigningString()
	if err != nil {
		t.Fatal(err)
	}
	cfg := restclient.AnonymousClientConfig(access(t, c))
	r := rawTo(t, cfg)
	ask := func(token string) answer { return r.get("/api/v1/namespaces", "Authorization", "Bearer "+token) }
	refused(t, "the token itself has no rights", ask(good.Status.Token), 403, `User "system:serviceaccount:default:default" cannot list resource "namespaces"`)
	for what, token := range map[string]string{
		"another key":             forged(jwt.SigningMethodES256, other, keep),
		"no signature":            forged(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, keep),
		"the public key as text":  forged(jwt.SigningMethodHS256, published(t, c), keep),
		"expired, of another key": forged(jwt.SigningMethodES256, other, func(c jwt.MapClaims) { c["exp"] = 1 }),
		"another key's name":      named("other"),
		"a key that is a path":    named("../../../dev/null"),
		"another subject":         body + "." + parts[2],
		"cut short":               parts[0] + "." + parts[1] + "." + parts[2][:10],
		"no token":                "x.y.z",
		"very long":               strings.Repeat("x", 200_000),
	} {
		refused(t, what, ask(token), 401, "Unauthorized")
	}
	refused(t, "no token at all", r.get("/api/v1/namespaces"), 401)
	alive(t, inMemory(t, c))
}

// published is the key that anybody may check tokens with, as PEM: to who takes it
// for a secret of his own.
func published(t *testing.T, c *clustertest.Cluster) []byte {
	t.Helper()
	var set struct {
		Keys []struct{ X, Y string }
	}
	inMemory(t, c).get("/openid/v1/jwks").into(t, &set)
	if len(set.Keys) == 0 {
		t.Fatal("no key is published")
	}
	x, errX := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	y, errY := base64.RawURLEncoding.DecodeString(set.Keys[0].Y)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// liar is a webhook that answers every request with what f gives.
func liar(t *testing.T, f func(w http.ResponseWriter, uid string)) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		data, _ := io.ReadAll(req.Body)
		_, after, _ := strings.Cut(string(data), `"uid":"`)
		uid, _, _ := strings.Cut(after, `"`)
		w.Header().Set("Content-Type", "application/json")
		f(w, uid)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return admissionregistrationv1.WebhookClientConfig{
		URL: ptr.To(s.URL + "/"), CABundle: certificateOf(s),
	}
}

// certificateOf is what vouches for a server, PEM.
func certificateOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func review(uid, rest string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true%s}}`, uid, rest)
}

func patched(uid, patch string) string {
	return review(uid, fmt.Sprintf(`,"patchType":"JSONPatch","patch":%q`, base64.StdEncoding.EncodeToString([]byte(patch))))
}

func TestWebhooksThatLie(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, r := clientset(t, c.RESTConfig()), inMemory(t, c)
	hang := make(chan struct{})
	defer close(hang)
	say := func(text func(uid string) string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, uid string) { _, _ = io.WriteString(w, text(uid)) }
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(`[{"op":"add","path":"/data/z","value":"z"}]`))
	for i, h := range []struct {
		name   string
		answer func(http.ResponseWriter, string)
		code   int
		want   string
	}{
		{"hangs", func(http.ResponseWriter, string) { <-hang }, 500, "context deadline exceeded"},
		{"speaks no JSON", say(func(string) string { return "<html>" }), 500, "failed calling webhook"},
		{"says nothing", say(func(string) string { return "" }), 500, "failed calling webhook"},
		{"sends an endless answer", func(w http.ResponseWriter, _ string) {
			for chunk := bytes.Repeat([]byte(" "), 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, 500, "the answer is longer than 83"},
		{"sends an endless answer, compressed", func(w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for chunk := make([]byte, 1<<20); ; {
				if _, err := z.Write(chunk); err != nil {
					return
				}
			}
		}, 500, "the answer is longer than 83"},
		{"closes the connection", func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) }, 500, "failed calling webhook"},
		{"sends an answer letter by letter", func(w http.ResponseWriter, _ string) {
			for {
				if _, err := io.WriteString(w, " "); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-hang:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}, 500, "context deadline exceeded"},
		{"redirects for ever", func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, 500, "stopped after 10 redirects"},
		{"fails", func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusTeapot) }, 500, "failed calling webhook"},
		{"answers another request", say(func(string) string { return review("other", "") }), 500, `expected response.uid=`},
		{"answers with another kind", say(func(uid string) string {
			return `{"apiVersion":"v1","kind":"Pod","response":{"uid":"` + uid + `","allowed":true}}`
		}), 500, `no kind "Pod" is registered`},
		{"patches with garbage", say(func(uid string) string { return patched(uid, "{{{") }), 500, "received undecodable patch in webhook response"},
		{"patches what is not there", say(func(uid string) string { return patched(uid, `[{"op":"replace","path":"/none/at/all","value":1}]`) }), 500, "replace operation does not apply: doc is missing path"},
		{"patches another type into it", say(func(uid string) string { return patched(uid, `[{"op":"replace","path":"/data","value":"text"}]`) }), 500, "cannot unmarshal string"},
		{"patches in a way that is not known", say(func(uid string) string {
			return review(uid, `,"patchType":"Knitting","patch":"`+encoded+`"`)
		}), 500, `unsupported patch type "Knitting"`},
		{"patches without saying how", say(func(uid string) string { return review(uid, `,"patch":"`+encoded+`"`) }), 500, "patchType"},
		{"makes the object another namespace's", say(func(uid string) string {
			return patched(uid, `[{"op":"replace","path":"/metadata/namespace","value":"kube-system"}]`)
		}), 400, "namespace of the provided object does not match"},
		{"makes the object invalid", say(func(uid string) string { return patched(uid, `[{"op":"replace","path":"/metadata/name","value":"-"}]`) }), 422, "metadata.name"},
		{"makes the object huge", say(func(uid string) string {
			return patched(uid, `[{"op":"add","path":"/data/b","value":"`+strings.Repeat("x", 2<<20)+`"}]`)
		}), 422, "Too long"},
	} {
		name := fmt.Sprintf("liar-%d", i)
		timeout := int32(30) // seconds, as much as may be
		if strings.Contains(h.want, "deadline exceeded") {
			timeout = 1
		}
		cfg := &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "liar.example.com", ClientConfig: liar(t, h.answer), TimeoutSeconds: ptr.To(timeout),
				SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
				ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"liar": name}},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}},
			}},
		}
		if _, err := k.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), cfg, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"metadata":{"name":%[1]q,"labels":{"liar":%[1]q}},"data":{"a":"b"}}`, name)
		post := func() answer { return r.do("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", body) }
		eventually(t, func() error {
			if a := post(); a.code == http.StatusCreated {
				return fmt.Errorf("%s: created", h.name)
			}
			return nil
		})
		refused(t, h.name, post(), h.code, h.want)
	}
	alive(t, r)
}

// TestWebhooksCannotChangeIdentity sees that a webhook's UID is not kept.
func TestWebhooksCannotChangeIdentity(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k := clientset(t, c.RESTConfig())
	lie := liar(t, func(w http.ResponseWriter, uid string) {
		_, _ = io.WriteString(w, patched(uid, `[{"op":"add","path":"/metadata/uid","value":"lie"},{"op":"add","path":"/data","value":{"lied":"yes"}}]`))
	})
	if _, err := k.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "liar"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "liar.example.com", ClientConfig: lie,
			SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var made *corev1.ConfigMap
	n := 0
	eventually(t, func() (err error) {
		n++
		made, err = k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named(fmt.Sprintf("a%d", n))}, metav1.CreateOptions{})
		if err == nil && made.Data["lied"] == "" {
			return fmt.Errorf("the webhook is not asked yet")
		}
		return err
	})
	if made.UID == "lie" || made.UID == "" {
		t.Errorf("UID %q", made.UID)
	}
	_, err := k.CoreV1().ConfigMaps("default").Patch(t.Context(), made.Name, types.MergePatchType, []byte(`{"data":{"b":"c"}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "uid") && !strings.Contains(err.Error(), "UID") {
		t.Errorf("an update under another UID: %v", err)
	}
	if now, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), made.Name, metav1.GetOptions{}); err != nil || now.UID != made.UID {
		t.Errorf("%v %v", now, err)
	}
}

func TestSlowClients(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	cfg := access(t, c)
	r := rawTo(t, cfg)
	host := strings.TrimPrefix(strings.TrimSuffix(cfg.Host, "/"), "https://")
	tlsConfig, err := restclient.TLSConfigFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.NextProtos = []string{"http/1.1"}
	dial := func() net.Conn {
		conn, err := tls.Dial("tcp", host, tlsConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	write := func(conn net.Conn, text string) {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	// Some never end their headers, some never send their body, and some never
	// read the watch that they asked for.
	for range 50 {
		write(dial(), "GET /api/v1/namespaces HTTP/1.1\r\nHost: skiff\r\nX-Slow: ")
		write(dial(), "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: skiff\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	}
	for range 20 {
		conn := dial()
		write(conn, "GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nHost: skiff\r\n\r\n")
		if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("watch: %q %v", line, err)
		}
	}
	k := clientset(t, c.RESTConfig())
	w, err := k.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	const writes = 100
	data := map[string]string{"a": strings.Repeat("x", 50_000)}
	for i := range writes {
		if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named(fmt.Sprintf("c%d", i)), Data: data}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < writes; n++ {
		select {
		case e, ok := <-w.ResultChan():
			if !ok || e.Type != watch.Added {
				t.Fatalf("%d events, then %v", n, e)
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d events", n, writes)
		}
	}
	alive(t, r)
}

// TestListsThatNobodyReads asks for a long list on many connections and reads its
// first line alone: what waits for them is an object, and not the list, for each.
func TestListsThatNobodyReads(t *testing.T) {
	c := socket(t, nil)
	cfg := access(t, c)
	k := clientset(t, c.RESTConfig())
	data := map[string]string{"a": strings.Repeat("x", 500_000)}
	const objects, readers = 32, 25
	for i := range objects {
		if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named(fmt.Sprintf("c%d", i)), Data: data}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tlsConfig, err := restclient.TLSConfigFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.NextProtos = []string{"http/1.1"}
	memory := func() int64 {
		runtime.GC()
		runtime.GC() // what pools have kept
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	for what, accept := range map[string]string{"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"} {
		before := memory()
		var open []net.Conn
		for range readers {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(cfg.Host, "/"), "https://"), tlsConfig)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
			if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: skiff\r\nAccept: %s\r\n\r\n", maps, accept); err != nil {
				t.Fatal(err)
			}
		}
		for _, conn := range open {
			if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Fatalf("%s: %q %v", what, line, err)
			}
		}
		// A list is 16 MB: with all of it kept for each this is 400 MB and more.
		const most = 4 << 20
		if each := (memory() - before) / readers; each > most {
			t.Errorf("a list in %s that is not read costs %d KiB, more than %d", what, each>>10, most>>10)
		} else {
			t.Logf("a list in %s that is not read costs %d KiB", what, each>>10)
		}
		for _, conn := range open {
			_ = conn.Close()
		}
	}
	alive(t, rawTo(t, cfg))
}

// TestManyWatches opens ten thousand watches at once (a tenth with -short) and
// bounds what they cost.
func TestManyWatches(t *testing.T) {
	c := clustertest.APIServer(t)
	k := clientset(t, c.RESTConfig())
	n := 10_000
	if testing.Short() {
		n /= 10
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before, goroutines := memory(), runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watches := make([]watch.Interface, n)
	for i := range watches {
		w, err := k.CoreV1().Secrets("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatalf("watch %d: %v", i, err)
		}
		watches[i] = w
	}
	// Both ends are in this process: the server's two goroutines with a stack
	// that a request has grown, and the client's two.
	const most = 200 << 10
	if each := (int64(memory()) - int64(before)) / int64(n); each > most {
		t.Errorf("a watch costs %d KiB, more than %d", each>>10, most>>10)
	} else {
		t.Logf("a watch costs %d KiB at both ends", each>>10)
	}
	if _, err := k.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: named("s")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	end := time.After(4 * patience)
	for i, w := range watches {
		select {
		case e := <-w.ResultChan():
			if e.Type != watch.Added {
				t.Fatalf("watch %d: %v", i, e)
			}
		case <-end:
			t.Fatalf("watch %d of %d has seen nothing", i, n)
		}
	}
	cancel()
	for _, w := range watches {
		w.Stop() // else the client's end may wait for a reader of its error
	}
	eventually(t, func() error {
		if left := runtime.NumGoroutine(); left > goroutines+n/10+50 {
			return fmt.Errorf("%d goroutines, %d before", left, goroutines)
		}
		return nil
	})
	alive(t, inMemory(t, c))
}

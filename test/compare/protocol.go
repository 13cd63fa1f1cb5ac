package main

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	maps1   = "/api/v1/namespaces/default/configmaps"
	gone    = "999999999999" // a resourceVersion that no server has yet
	toCBOR  = "application/cbor"
	toProto = "application/vnd.kubernetes.protobuf"
)

// protocol compares what no kind is needed for: queries, forms of answers and
// of bodies, methods and paths, most of them wrong.
func (r *runner) protocol() error {
	if !r.only.MatchString("protocol") {
		return nil
	}
	for _, name := range []string{"protocol-a", "protocol-b", "protocol-c"} {
		body := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "labels": map[string]any{"of": "protocol"}}, "data": map[string]any{"a": "b"}}
		if err := r.try(request{method: "POST", path: maps1, body: body}); err != nil {
			return err
		}
	}
	all := slices.Concat(queries(), watches(), forms(), bodies(), paths())
	for _, q := range all {
		if err := r.try(q); err != nil {
			return err
		}
	}
	for _, step := range []func() error{r.tryContinue, r.tryServer, r.tryMetrics} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) try(q request) error {
	what := strings.Join(strings.Fields(strings.Join([]string{q.method, q.path, q.accept, q.content, short(q.body)}, " ")), " ")
	_, err := r.ask("protocol", what, q)
	return err
}

const ours = "labelSelector=of%3Dprotocol"

func queries() []request {
	var out []request
	for _, q := range []string{
		"limit=word", "limit=-1", "limit=0", "limit=2", "limit=1&limit=2", "timeoutSeconds=word", "timeoutSeconds=0",
		"resourceVersion=word", "resourceVersion=-1", "resourceVersion=0", "resourceVersion=" + gone,
		"resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan", "resourceVersionMatch=Word",
		"resourceVersion=0&resourceVersionMatch=Exact", "resourceVersion=0&resourceVersionMatch=NotOlderThan", "resourceVersion=word&resourceVersionMatch=Exact",
		"resourceVersion=" + gone + "&resourceVersionMatch=Exact", "continue=garbage", "continue=garbage&resourceVersion=1", "continue=garbage&resourceVersion=0",
		"continue=garbage&resourceVersionMatch=Exact", "limit=1&resourceVersion=0", "sendInitialEvents=true", "sendInitialEvents=word", "allowWatchBookmarks=word",
		"labelSelector=a%3D%3Db%3D%3Dc", "labelSelector=a%20in%20(b", "labelSelector=a%20notin%20()", "labelSelector=a%20near%20b", "labelSelector=%2C", "labelSelector=bad!key",
		"labelSelector=a%3Dbad!value", "labelSelector=a%3Eword", "labelSelector=!", "labelSelector=a&labelSelector=b", "fieldSelector=a", "fieldSelector=metadata.name", "fieldSelector=%2C",
		"fieldSelector=metadata.name%3D", "fieldSelector=metadata.name%3Dprotocol-a", "fieldSelector=metadata.name%3Eb", "fieldSelector=metadata.name%3Da%2Cmetadata.name%3Db",
		"fieldSelector=metadata.name%3Da%5C", "unknown=1", "pretty=true", "pretty=word", "shardSelector=word",
	} {
		with := q
		if !strings.Contains(q, "labelSelector") {
			with += "&" + ours
		}
		out = append(out, request{method: "GET", path: maps1 + "?" + with})
	}
	for _, q := range []string{"resourceVersion=0", "resourceVersion=word", "resourceVersion=" + gone, "resourceVersion=-1", "resourceVersionMatch=Exact", "unknown=1", "limit=1"} {
		out = append(out, request{method: "GET", path: maps1 + "/protocol-a?" + q})
	}
	one := map[string]any{"metadata": map[string]any{"name": "protocol-d"}}
	for _, q := range []string{
		"dryRun=", "dryRun=All&dryRun=All", "dryRun=All&dryRun=Some", "dryRun=all", "dryRun=All&fieldManager=bad%00manager", "dryRun=All&fieldManager=" + strings.Repeat("a", 129),
		"dryRun=All&fieldValidation=strict", "dryRun=All&fieldValidation=Strict&fieldValidation=Warn", "dryRun=All&force=true", "dryRun=All&unknown=1", "dryRun=All&pretty=1",
	} {
		out = append(out, request{method: "POST", path: maps1 + "?" + q, body: one},
			request{method: "PUT", path: maps1 + "/protocol-a?" + q, body: map[string]any{"metadata": map[string]any{"name": "protocol-a"}}},
			request{method: "PATCH", path: maps1 + "/protocol-a?" + q, content: mergePatch, body: one["nothing"]},
			request{method: "PATCH", path: maps1 + "/protocol-a?" + q, content: mergePatch, body: map[string]any{"data": map[string]any{"x": "y"}}})
	}
	return out
}

func watches() []request {
	var out []request
	for _, q := range []string{
		"resourceVersion=word", "resourceVersion=-1", "resourceVersion=1", "resourceVersion=" + gone, "resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan",
		"resourceVersion=0&resourceVersionMatch=NotOlderThan", "sendInitialEvents=true", "sendInitialEvents=true&resourceVersionMatch=Exact", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
		"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0",
		"sendInitialEvents=false", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=" + gone,
		"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=word", "resourceVersion=0", "", "limit=1", "continue=garbage",
		"fieldSelector=bad%3Dx", "timeoutSeconds=word",
	} {
		seconds := "&timeoutSeconds=1"
		if strings.Contains(q, "timeoutSeconds") {
			seconds = ""
		}
		out = append(out, request{method: "GET", path: maps1 + "?watch=true&" + ours + seconds + "&" + q})
	}
	return append(out,
		request{method: "GET", path: maps1 + "?watch=word&" + ours},
		request{method: "GET", path: "/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1&" + ours},
		request{method: "GET", path: "/api/v1/watch/namespaces/default/configmaps/protocol-a?timeoutSeconds=1"},
		request{method: "GET", path: "/api/v1/watch/configmaps?timeoutSeconds=1&" + ours},
		request{method: "GET", path: maps1 + "?watch=true&timeoutSeconds=1&" + ours, accept: asTbl},
		request{method: "GET", path: maps1 + "?watch=true&timeoutSeconds=1&" + ours, accept: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"},
		request{method: "GET", path: maps1 + "?watch=true&timeoutSeconds=1&" + ours, accept: "application/yaml"},
		request{method: "GET", path: maps1 + "?watch=true&timeoutSeconds=1&" + ours, accept: "text/plain"},
		request{method: "GET", path: maps1 + "?watch=true&timeoutSeconds=1&" + ours, accept: "application/json;stream=watch"},
	)
}

// forms are the forms that an answer can be asked for in.
func forms() []request {
	var out []request
	for _, accept := range []string{
		"*/*", "application/*", "text/*", "text/plain", "text/html", "application/yaml", "application/xml", toCBOR, toProto, "application/cbor-seq", "garbage", "application/json;pretty=1",
		"application/json;q=0.1,application/yaml", "text/plain,application/yaml;q=0.1", "application/json;stream=watch", "application/yaml;stream=watch", "application/json;charset=utf-8",
		asTbl, "application/json;as=Table;v=v1beta1;g=meta.k8s.io", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Table;g=meta.k8s.io", "application/json;as=Table;v=v1;g=other",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "application/yaml;as=Table;v=v1;g=meta.k8s.io",
		toProto + ";as=Table;v=v1;g=meta.k8s.io", "application/json;as=Word;v=v1;g=meta.k8s.io",
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1alpha1;g=meta.k8s.io",
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io",
	} {
		for _, path := range []string{maps1 + "/protocol-a", maps1 + "?" + ours, maps1 + "/nothing", "/api/v1/nothing", "/api", "/apis", "/api/v1", "/apis/apps"} {
			out = append(out, request{method: "GET", path: path, accept: accept})
		}
	}
	for _, include := range []string{"None", "Metadata", "Object", "Word", ""} {
		out = append(out, request{method: "GET", path: maps1 + "?" + ours + "&includeObject=" + include, accept: asTbl})
	}
	for _, method := range []string{"POST", "DELETE"} {
		out = append(out, request{method: method, path: maps1 + "/nothing?dryRun=All", accept: asTbl}, request{method: method, path: maps1 + "/nothing?dryRun=All", accept: "text/plain"})
	}
	return append(out,
		request{method: "POST", path: maps1 + "?dryRun=All", accept: asTbl, body: map[string]any{"metadata": map[string]any{"name": "protocol-d"}}},
		request{method: "POST", path: maps1 + "?dryRun=All", accept: "application/yaml", body: map[string]any{"metadata": map[string]any{"name": "Bad!"}}},
		request{method: "DELETE", path: maps1 + "/protocol-a?dryRun=All", accept: asTbl},
	)
}

func bodies() []request {
	one := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "protocol-d"}}
	var out []request
	for _, content := range []string{
		"application/json;charset=utf-8", "application/xml", "text/plain", "garbage", "application/yaml", toCBOR, toProto, jsonPatch, mergePatch, strategic, applyYAML, "application/apply-patch+cbor", "application/json;as=Table",
	} {
		for _, q := range []request{
			{method: "POST", path: maps1 + "?dryRun=All"},
			{method: "PUT", path: maps1 + "/protocol-a?dryRun=All"},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All"},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All&fieldManager=m"},
			{method: "DELETE", path: maps1 + "/protocol-a?dryRun=All"},
		} {
			q.content, q.body = content, one
			out = append(out, q)
		}
	}
	long := strings.Repeat("x", 3<<20)
	var many []any
	for range 10001 {
		many = append(many, map[string]any{"op": "test", "path": "/kind", "value": "ConfigMap"})
	}
	for _, b := range []string{"", " ", "null", "[]", `"word"`, "1", "{", "{}", `{"kind":"ConfigMap"}`, `{"apiVersion":"v1"}`, `{"apiVersion":"v1","kind":"Secret"}`, `{"apiVersion":"v9","kind":"ConfigMap"}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"protocol-d","name":"protocol-e"}}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"protocol-d"}} more`,
		`{"metadata":{"name":"protocol-d"},"data":{"a":"b","a":"c"},"data":{}}`, "{\"metadata\":{\"name\":\"protocol-d\"},\"data\":{\"a\":\"\xff\"}}", strings.Repeat("[", 20000), `{"metadata":{"name":"protocol-a","generation":1e400}}`} {
		for _, q := range []request{
			{method: "POST", path: maps1 + "?dryRun=All&fieldValidation=Warn"},
			{method: "PUT", path: maps1 + "/protocol-a?dryRun=All&fieldValidation=Strict"},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: mergePatch},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: jsonPatch},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: strategic},
			{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All&fieldManager=m", content: applyYAML},
			{method: "DELETE", path: maps1 + "/protocol-a?dryRun=All"},
			{method: "DELETE", path: maps1 + "?dryRun=All&" + ours},
		} {
			q.body = []byte(b)
			out = append(out, q)
		}
	}
	options := func(change map[string]any) map[string]any {
		o := map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": []any{"All"}}
		maps.Copy(o, change)
		return o
	}
	for _, o := range []map[string]any{
		{}, {"propagationPolicy": "Word"}, {"propagationPolicy": "Foreground"}, {"propagationPolicy": "Orphan", "orphanDependents": true}, {"gracePeriodSeconds": -2}, {"gracePeriodSeconds": 5},
		{"preconditions": map[string]any{"uid": "x"}}, {"preconditions": map[string]any{"resourceVersion": "1"}}, {"dryRun": []any{"Some"}}, {"kind": "Other"}, {"apiVersion": "apps/v1"},
		{"apiVersion": "meta.k8s.io/v1"}, {"unknown": 1}, {"ignoreStoreReadErrorWithClusterBreakingPotential": true},
	} {
		out = append(out, request{method: "DELETE", path: maps1 + "?" + ours, body: options(o)}, request{method: "DELETE", path: maps1 + "/protocol-a", body: options(o)},
			request{method: "DELETE", path: maps1 + "/protocol-a?propagationPolicy=Background", body: options(o)})
	}
	return append(out,
		request{method: "POST", path: maps1, body: map[string]any{"metadata": map[string]any{"name": "protocol-d"}, "data": map[string]any{"a": long}}},
		request{method: "POST", path: maps1, body: map[string]any{"metadata": map[string]any{"name": "protocol-d"}, "data": map[string]any{"a": long[:2<<20]}}},
		request{method: "PUT", path: maps1 + "/protocol-a", body: map[string]any{"metadata": map[string]any{"name": "protocol-a"}, "data": map[string]any{"a": long}}},
		request{method: "PATCH", path: maps1 + "/protocol-a", content: mergePatch, body: map[string]any{"data": map[string]any{"a": long}}},
		request{method: "PATCH", path: maps1 + "/protocol-a?fieldManager=m", content: applyYAML, body: map[string]any{"data": map[string]any{"a": long}}},
		request{method: "PATCH", path: maps1 + "/protocol-a", content: jsonPatch, body: many},
		request{method: "DELETE", path: maps1 + "/protocol-a", body: map[string]any{"dryRun": []any{"All"}, "unknown": long}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: jsonPatch, body: []any{map[string]any{"op": "copy", "from": "/data", "path": "/data/a"}}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: jsonPatch, body: []any{map[string]any{"op": "add", "path": "/data/a/b", "value": 1}}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: jsonPatch, body: []any{map[string]any{"op": "replace", "path": "data/a", "value": "b"}}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: strategic, body: map[string]any{"$patch": "delete"}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: strategic, body: map[string]any{"$retainKeys": 1}},
		request{method: "PATCH", path: maps1 + "/protocol-a?dryRun=All", content: strategic, body: map[string]any{"metadata": map[string]any{"$setElementOrder/finalizers": "x"}}},
	)
}

// paths are those that are not there, and methods that they do not have.
func paths() []request {
	var out []request
	for _, path := range []string{
		maps1, maps1 + "/protocol-a", maps1 + "/protocol-a/status", maps1 + "/protocol-a/scale", maps1 + "/", maps1 + "//", "/api/v1/configmaps/protocol-a",
		"/api/v1/namespaces/nothing/configmaps", "/api/v1/namespaces/default/pods/nothing/log", "/api/v1/namespaces/default/pods/nothing/status", "/api/v1/namespaces/default/pods/nothing/word",
		"/apis/apps/v1/namespaces/default/deployments/nothing/scale", "/apis/apps/v1/namespaces/default/deployments/nothing/scale/more", "/apis/apps/v1/namespaces/default/deployments/nothing/status",
		"/api/v1/namespaces", "/api/v1/namespaces/nothing", "/api/v1/namespaces/nothing/finalize", "/api/v1/namespaces/default/nodes", "/api/v1/nodes/nothing/proxy/metrics", "/api/v1/nodes/nothing/proxy",
		"/api/v1/namespaces/default/services/nothing/proxy/", "/api/v1/namespaces/default/bindings", "/api/v1/componentstatuses", "/api/v1/componentstatuses/nothing",
		"/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
		"/api", "/api/", "/api/v1", "/api/v1/", "/api/v2", "/api/v1/nothing", "/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1", "/apis/apps/v2", "/apis/apps/v1/nothing", "/apis/nothing", "/apis/nothing.example.com/v1",
		"/apis/nothing.example.com/v1/things", "/apis/nothing.example.com/v1/namespaces/default/things/a", "/nothing", "/openapi", "/openapi/v2/", "/openapi/v3/nothing", "/openapi/v3/apis/nothing/v1", "/openapi/v4", "/version/", "/healthz/", "/logs", "/debug/nothing", "/ui",
		"/swaggerapi", "/swagger.json", "/openid/v1/jwks/", "/.well-known/nothing", "/metrics/nothing", "/metrics/slis/nothing", "/apis/apps/v1/watch", "/api/v1/watch/nothing", "/api/v1/proxy/nodes/a", "/livez/ping", "/livez/nothing", "/readyz/etcd", "/healthz/log", "/healthz/nothing",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WORD"} {
			if strings.HasSuffix(path, "/etcd") && method != "GET" {
				continue
			}
			q := request{method: method, path: path}
			if method != "GET" && method != "HEAD" {
				q.path += "?dryRun=All"
			}
			if method == "POST" || method == "PUT" || method == "PATCH" {
				q.body = map[string]any{}
			}
			if method == "PATCH" {
				q.content = mergePatch
			}
			out = append(out, q)
		}
	}
	return out
}

// tryContinue reads lists in parts.
func (r *runner) tryContinue() error {
	first, err := r.ask("protocol", "GET the first part", request{method: "GET", path: maps1 + "?limit=1&" + ours})
	if err != nil {
		return err
	}
	token := func(i int) string {
		m, _ := body(first[i])["metadata"].(map[string]any)
		return url.QueryEscape(text(m, "continue"))
	}
	version := func(i int) string {
		m, _ := body(first[i])["metadata"].(map[string]any)
		return text(m, "resourceVersion")
	}
	for what, path := range map[string]func(i int) string{
		"GET the second part": func(i int) string { return maps1 + "?limit=1&" + ours + "&continue=" + token(i) },
		"GET the rest":        func(i int) string { return maps1 + "?" + ours + "&continue=" + token(i) },
		"GET the rest with a version": func(i int) string {
			return maps1 + "?" + ours + "&resourceVersion=" + version(i) + "&continue=" + token(i)
		},
		"GET the rest of another list":      func(i int) string { return "/api/v1/namespaces/default/secrets?continue=" + token(i) },
		"GET the rest of another namespace": func(i int) string { return "/api/v1/namespaces/kube-public/configmaps?continue=" + token(i) },
		"GET the rest with a match":         func(i int) string { return maps1 + "?" + ours + "&resourceVersionMatch=Exact&continue=" + token(i) },
		"GET exactly a version": func(i int) string {
			return maps1 + "?" + ours + "&resourceVersionMatch=Exact&resourceVersion=" + version(i)
		},
		"GET exactly a version in parts": func(i int) string {
			return maps1 + "?limit=1&" + ours + "&resourceVersionMatch=Exact&resourceVersion=" + version(i)
		},
		"GET no older than a version": func(i int) string {
			return maps1 + "?" + ours + "&resourceVersionMatch=NotOlderThan&resourceVersion=" + version(i)
		},
		"GET one no older than a version": func(i int) string { return maps1 + "/protocol-a?resourceVersion=" + version(i) },
		"watch from a version": func(i int) string {
			return maps1 + "?watch=true&timeoutSeconds=1&" + ours + "&resourceVersion=" + version(i)
		},
		"watch from a version with all bookmark": func(i int) string {
			return maps1 + "?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&" + ours + "&resourceVersion=" + version(i)
		},
	} {
		if _, err := r.askEach("protocol", what, func(i int) request { return request{method: "GET", path: path(i)} }); err != nil {
			return err
		}
	}
	return nil
}

// tryServer compares what servers say of themselves, of which most values are
// another on each.
func (r *runner) tryServer() error {
	for _, path := range []string{"/version", "/.well-known/openid-configuration", "/openid/v1/jwks", "/openapi/v3"} {
		var out [2]answer
		for i, s := range r.servers {
			a, err := s.do(r.ctx, request{method: "GET", path: path})
			if err != nil {
				return err
			}
			a.Body = keys(a.Body, path == "/openapi/v3")
			out[i] = a
		}
		r.report.add("protocol", "GET "+path, differences(out[0], out[1]))
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/livez?exclude=etcd", "/readyz?exclude=ping&exclude=etcd", "/readyz?exclude=nothing", "/healthz?exclude="} {
		if err := r.try(request{method: "GET", path: path}); err != nil {
			return err
		}
	}
	return nil
}

// keys are the names of what is in an object, and of what is in that when deep.
func keys(v any, deep bool) any {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("%T", v)
	}
	out := map[string]any{}
	for k, e := range m {
		out[k] = fmt.Sprintf("%T", e)
		if inner, ok := e.(map[string]any); ok && deep {
			out[k] = keys(inner, false)
		}
	}
	return out
}

var family = regexp.MustCompile(`(?m)^# HELP (\S+) \[(STABLE|BETA)\].*\n# TYPE \S+ (\S+)$`)

// tryMetrics compares the names and types of those metrics that Kubernetes
// promises to keep.
func (r *runner) tryMetrics() error {
	for _, path := range []string{"/metrics", "/metrics/slis"} {
		var found [2]map[string]any
		for i, s := range r.servers {
			a, err := s.do(r.ctx, request{method: "GET", path: path})
			if err != nil {
				return err
			}
			text, _ := a.Body.(string)
			found[i] = map[string]any{}
			for _, m := range family.FindAllStringSubmatch(text, -1) {
				found[i][m[1]] = m[2] + " " + m[3]
			}
		}
		maps.DeleteFunc(found[0], func(name string, _ any) bool { return found[1][name] == nil }) // more is no fault
		r.report.add("protocol", "GET "+path, compare("", found[0], found[1]))
	}
	return nil
}

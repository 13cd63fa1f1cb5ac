package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	explainv2 "k8s.io/kubectl/pkg/explain/v2"
)

// documents compares what the servers say of themselves: discovery, OpenAPI, and
// what `kubectl explain --recursive` makes of it.
func (r *runner) documents() error {
	const aggregated = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"
	for _, path := range []string{"/api", "/apis"} {
		for _, accept := range []string{"", aggregated} {
			if _, err := r.ask("documents", "GET "+path+" "+accept, request{method: "GET", path: path, accept: accept}); err != nil {
				return err
			}
		}
	}
	if err := r.discover(); err != nil {
		return err
	}
	if !r.only.MatchString("documents") {
		return nil
	}
	if _, err := r.ask("documents", "GET /openapi/v2", request{method: "GET", path: "/openapi/v2"}); err != nil {
		return err
	}
	index, err := r.servers[1].do(r.ctx, request{method: "GET", path: "/openapi/v3"})
	if err != nil {
		return err
	}
	paths, _ := index.Body.(map[string]any)["paths"].(map[string]any)
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if _, err := r.ask("documents", "GET /openapi/v3/"+p, request{method: "GET", path: "/openapi/v3/" + p}); err != nil {
			return err
		}
	}
	return r.explain()
}

// discover compares the lists of every version's resources and keeps those of
// upstream.
func (r *runner) discover() error {
	groups, err := r.servers[1].do(r.ctx, request{method: "GET", path: "/apis"})
	if err != nil {
		return err
	}
	versions := []string{"v1"}
	for _, g := range items(groups.Body, "groups") {
		if _, err := r.ask("documents", "GET /apis/"+text(g, "name"), request{method: "GET", path: "/apis/" + text(g, "name")}); err != nil {
			return err
		}
		for _, v := range items(g, "versions") {
			versions = append(versions, text(v, "groupVersion"))
		}
	}
	for _, v := range versions {
		got, err := r.ask("documents", "GET "+groupPath(v), request{method: "GET", path: groupPath(v)})
		if err != nil {
			return err
		}
		r.keep(v, items(got[1].Body, "resources"))
	}
	for key, res := range r.resources {
		for other, o := range r.resources {
			if key != other && o.name == res.name && group(o.path) == group(res.path) {
				res.others = append(res.others, o.path)
			}
		}
		slices.Sort(res.others)
		r.resources[key] = res
	}
	return nil
}

func (r *runner) keep(version string, resources []any) {
	for _, item := range resources {
		name, sub, isSub := strings.Cut(text(item, "name"), "/")
		if isSub {
			for key, res := range r.resources {
				if res.path == groupPath(version) && res.name == name {
					res.subs = append(res.subs, sub)
					r.resources[key] = res
				}
			}
			continue
		}
		res := resource{path: groupPath(version), name: name}
		res.namespaced, _ = item.(map[string]any)["namespaced"].(bool)
		for _, v := range items(item, "verbs") {
			res.verbs = append(res.verbs, v.(string))
		}
		r.resources[version+" "+text(item, "kind")] = res
	}
}

// explain prints every kind, with all that is in it.
func (r *runner) explain() error {
	for _, key := range slices.Sorted(maps.Keys(r.resources)) {
		res := r.resources[key]
		gv, err := schema.ParseGroupVersion(strings.Fields(key)[0])
		if err != nil {
			return err
		}
		var out [2]answer
		for i, s := range r.servers {
			c, err := discovery.NewDiscoveryClientForConfig(s.rest)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := explainv2.PrintModelDescription(nil, &b, c.OpenAPIV3(), gv.WithResource(res.name), true, 0, "plaintext"); err != nil {
				fmt.Fprintln(&b, err)
			}
			out[i].Body = lines(b.String())
		}
		r.report.add("explain", key, differences(out[0], out[1]))
	}
	return nil
}

// lines makes texts comparable line by line.
func lines(s string) any {
	out := []any{}
	for l := range strings.Lines(s) {
		out = append(out, strings.TrimRight(l, " \n"))
	}
	return out
}

func items(v any, key string) []any {
	m, _ := v.(map[string]any)
	l, _ := m[key].([]any)
	return l
}

func text(v any, key string) string {
	m, _ := v.(map[string]any)
	s, _ := m[key].(string)
	return s
}

// group is the path without the version.
func group(path string) string { return path[:strings.LastIndex(path, "/")] }

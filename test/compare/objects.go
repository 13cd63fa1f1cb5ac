package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubectl/pkg/describe"
)

// subject is one object of the corpus on both servers.
type subject struct {
	*runner
	entry
	name string // as it is called in the report
	res  resource
	path string // of the object
	coll string // of its collection

	// first of its kind: what is the same for all of a kind is tried with it
	// alone.
	first bool
}

// objects runs through the corpus: all objects are created and changed in its
// order, and deleted in the other.
func (r *runner) objects(entries []entry) error {
	var made []subject
	seen := map[string]bool{}
	for _, e := range entries {
		kind := e.field("apiVersion") + " " + e.field("kind")
		res, ok := r.resources[kind]
		if !ok {
			continue // not served with this --runtime-config
		}
		s := subject{
			runner: r, entry: e, name: kind + " " + e.field("metadata", "name"), res: res,
			coll: res.url(e.field("metadata", "namespace"), ""), path: res.url(e.field("metadata", "namespace"), e.field("metadata", "name")),
			first: !seen[kind],
		}
		seen[kind] = true
		made = append(made, s)
		if err := s.live(r.only.MatchString(kind)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	slices.Reverse(made)
	for _, s := range made {
		if !r.only.MatchString(s.name) || !slices.Contains(s.res.verbs, "get") {
			continue
		}
		if err := s.die(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

const (
	dry    = "?dryRun=All&fieldManager=try&fieldValidation=Strict"
	asTbl  = "application/json;as=Table;v=v1;g=meta.k8s.io"
	strict = "?fieldValidation=Strict"
)

// live creates the object and, when wanted, tries everything with it.
func (s subject) live(wanted bool) error {
	if wanted {
		if err := s.tryCreate(); err != nil {
			return err
		}
	}
	made, err := s.ask(s.name, "create", request{method: "POST", path: s.coll + strict, body: s.obj})
	if err != nil {
		return err
	}
	if made[1].Code >= 300 {
		return fmt.Errorf("kube-apiserver does not take it: %s", brief(made[1]))
	}
	if !slices.Contains(s.res.verbs, "get") { // an answer, nothing that stays
		return nil
	}
	if s.obj["status"] != nil && slices.Contains(s.res.subs, "status") {
		set, err := s.askEach(s.name, "set status", func(i int) request {
			return request{method: "PUT", path: s.path + "/status" + strict, body: set(body(made[i]), "/status", s.obj["status"])}
		})
		if err != nil {
			return err
		}
		if set[1].Code >= 300 {
			return fmt.Errorf("kube-apiserver does not take its status: %s", brief(set[1]))
		}
	}
	if !wanted {
		return nil
	}
	steps := []func() error{s.look, s.tryUpdate, s.tryStatus, s.tryPatch, s.tryApply, s.tryRequests, s.tryCollection, s.describe}
	if !s.first {
		steps = []func() error{s.read, s.tryUpdate, s.tryStatus, s.apply, s.tryRequests, s.describe}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func body(a answer) map[string]any {
	m, _ := a.Body.(map[string]any)
	return m
}

// all are the object's mutations, its own tries among them.
func (s subject) all(obj map[string]any) []mutation {
	out := mutations(obj, "apiVersion", "kind", "metadata", "status")
	if s.first {
		out = append(out, metadata(obj)...)
	}
	for _, t := range s.tries {
		m := mutation{obj: obj}
		for _, p := range slices.Sorted(maps.Keys(t)) {
			m.what += p + " = " + short(t[p]) + " "
			m.obj = set(m.obj, p, t[p])
		}
		out = append(out, m)
	}
	return out
}

func (s subject) tryCreate() error {
	for _, m := range append([]mutation{{"as it is", s.obj}}, s.all(s.obj)...) {
		if _, err := s.ask(s.name, "create, "+m.what, request{method: "POST", path: s.coll + dry, body: m.obj}); err != nil {
			return err
		}
	}
	if !s.first {
		return nil
	}
	for _, q := range []request{
		{path: s.coll + "?dryRun=All&fieldValidation=Warn", body: set(s.obj, "/unknown", 1.0)},
		{path: s.coll + "?dryRun=All", body: set(s.obj, "/metadata/unknown", 1.0)},
		{path: s.coll + "?dryRun=Some", body: s.obj},
		{path: s.coll + "?dryRun=All&fieldValidation=Some", body: s.obj},
		{path: s.coll + "?dryRun=All&fieldManager=" + strings.Repeat("a", 200), body: s.obj},
		{path: s.coll + dry, body: []byte("{")},
		{path: s.coll + dry, body: []byte("{}")},
		{path: s.coll + dry, body: []byte("")},
		{path: s.coll + dry, body: []byte("a: b"), content: "application/yaml"},
		{path: s.coll + dry, body: s.obj, content: "text/plain"},
		{path: s.path, body: s.obj},
	} {
		q.method = "POST"
		if _, err := s.ask(s.name, "create "+q.content+" "+q.path, q); err != nil {
			return err
		}
	}
	return nil
}

// stored is the object as each server has it.
func (s subject) stored() ([2]map[string]any, error) {
	var out [2]map[string]any
	for i := range s.servers {
		a, err := s.servers[i].do(s.ctx, request{method: "GET", path: s.path})
		if err != nil {
			return out, err
		}
		out[i] = body(a)
	}
	return out, nil
}

// settle waits until both servers have written what they write themselves of
// some kinds: a write in between would make a later request a conflict on one of
// them alone.
func (s subject) settle() error {
	if kind := s.field("kind"); kind != "APIService" && kind != "FlowSchema" && kind != "CustomResourceDefinition" {
		return nil
	}
	deadline := time.Now().Add(time.Minute)
	for {
		both, err := s.stored()
		if err != nil {
			return err
		}
		if len(items(both[0]["status"], "conditions")) > 0 && len(items(both[1]["status"], "conditions")) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has no condition after a minute", s.name)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// look reads the object in every way.
func (s subject) look() error {
	if err := s.settle(); err != nil {
		return err
	}
	paths := []string{s.path, s.coll, s.coll + "?limit=1", s.coll + "?labelSelector=!!", s.coll + "?labelSelector=none%3Dnone", s.path + "?pretty=maybe"}
	for _, o := range s.res.others {
		res := s.res
		res.path = o
		paths = append(paths, res.url(s.field("metadata", "namespace"), s.field("metadata", "name")))
	}
	for _, sub := range s.res.subs {
		paths = append(paths, s.path+"/"+sub)
	}
	for _, f := range selectors {
		paths = append(paths, s.coll+"?fieldSelector="+url.QueryEscape(f))
	}
	return s.get(paths)
}

// read reads the object as it is and as a table.
func (s subject) read() error {
	if err := s.settle(); err != nil {
		return err
	}
	return s.get([]string{s.path})
}

func (s subject) get(paths []string) error {
	for _, p := range paths {
		if _, err := s.ask(s.name, "GET "+p, request{method: "GET", path: p}); err != nil {
			return err
		}
		if strings.Contains(p, "/proxy") {
			continue
		}
		if _, err := s.ask(s.name, "GET as a table "+p, request{method: "GET", path: p, accept: asTbl}); err != nil {
			return err
		}
	}
	return nil
}

// selectors are what some kinds can be selected by.
var selectors = []string{
	"metadata.name=x", "metadata.namespace=x", "metadata.uid=x", "spec.nodeName=n1", "spec.restartPolicy=Always", "spec.schedulerName=x", "spec.serviceAccountName=x",
	"spec.hostNetwork=false", "status.phase=Running", "status.podIP=10.1.0.5", "status.podIPs=10.1.0.5", "status.nominatedNodeName=x", "status.successful=0", "status.replicas=1",
	"spec.unschedulable=true", "spec.type=ClusterIP", "spec.clusterIP=None", "type=Normal", "reason=x", "source=x", "reportingComponent=x", "involvedObject.kind=Pod",
	"involvedObject.name=x", "involvedObject.namespace=x", "involvedObject.uid=x", "involvedObject.apiVersion=v1", "involvedObject.resourceVersion=1", "involvedObject.fieldPath=x",
	"regarding.kind=Pod", "regarding.name=x", "spec.signerName=x", "spec.driver=x", "spec.poolName=x", "spec.attacher=x", "spec.parentRef=x", "name=x", "spec.podName=x", "bad=x", "!!",
	"metadata.name!=x,bad=x", "spec.name=x", "status.conditions=x", "spec.serviceAccountName=default,status.phase!=Running",
}

func (s subject) tryUpdate() error {
	old, err := s.stored()
	if err != nil {
		return err
	}
	ours, theirs := s.all(old[0]), s.all(old[1])
	if len(ours) != len(theirs) {
		ours = nil
		fmt.Printf("%s: the stored objects differ in their fields: no update is tried\n", s.name)
	}
	for k := range ours {
		_, err := s.askEach(s.name, "update, "+ours[k].what, func(i int) request {
			return request{method: "PUT", path: s.path + dry, body: [][]mutation{ours, theirs}[i][k].obj}
		})
		if err != nil {
			return err
		}
	}
	if _, err := s.ask(s.name, "update with the created object", request{method: "PUT", path: s.path + dry, body: s.obj}); err != nil {
		return err
	}
	if _, err := s.ask(s.name, "update what is not there", request{method: "PUT", path: s.path + "x" + dry, body: set(s.obj, "/metadata/name", s.field("metadata", "name")+"x")}); err != nil {
		return err
	}
	_, err = s.askEach(s.name, "real update", func(i int) request {
		return request{method: "PUT", path: s.path + strict, body: set(old[i], "/metadata/labels/changed", "yes")}
	})
	return err
}

func (s subject) tryStatus() error {
	if !slices.Contains(s.res.subs, "status") {
		return nil
	}
	old, err := s.stored()
	if err != nil {
		return err
	}
	put := func(what string, bodies func(i int) map[string]any) error {
		_, err := s.askEach(s.name, what, func(i int) request { return request{method: "PUT", path: s.path + "/status" + dry, body: bodies(i)} })
		return err
	}
	muts := mutations(map[string]any{"status": s.obj["status"]})
	for _, m := range muts {
		if err := put("status, "+m.what, func(i int) map[string]any { return set(old[i], "/status", m.obj["status"]) }); err != nil {
			return err
		}
	}
	if !s.first {
		return nil
	}
	meta := metadata(old[0])
	theirs := metadata(old[1])
	for k := range meta {
		if err := put("status, "+meta[k].what, func(i int) map[string]any { return [][]mutation{meta, theirs}[i][k].obj }); err != nil {
			return err
		}
	}
	return put("status and no spec", func(i int) map[string]any { return set(set(old[i], "/spec", nil), "/metadata/labels/a", "b") })
}

const (
	jsonPatch  = "application/json-patch+json"
	mergePatch = "application/merge-patch+json"
	strategic  = "application/strategic-merge-patch+json"
	applyYAML  = "application/apply-patch+yaml"
)

func (s subject) tryPatch() error {
	for _, p := range []struct {
		content string
		body    any
	}{
		{mergePatch, map[string]any{"metadata": map[string]any{"labels": map[string]any{"p": "q"}}}},
		{mergePatch, map[string]any{"metadata": map[string]any{"labels": "word"}}},
		{mergePatch, map[string]any{"metadata": map[string]any{"name": "word"}}},
		{mergePatch, map[string]any{"metadata": map[string]any{"resourceVersion": "1"}}},
		{mergePatch, map[string]any{"unknown": 1, "spec": map[string]any{"unknown": 1}}},
		{mergePatch, map[string]any{"kind": "Other"}},
		{mergePatch, []byte("{")},
		{jsonPatch, []any{map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{"a": "b"}}}},
		{jsonPatch, []any{map[string]any{"op": "test", "path": "/kind", "value": "Other"}}},
		{jsonPatch, []any{map[string]any{"op": "remove", "path": "/nothing/here"}}},
		{jsonPatch, []any{map[string]any{"op": "turn", "path": "/kind"}}},
		{jsonPatch, map[string]any{}},
		{strategic, map[string]any{"metadata": map[string]any{"labels": map[string]any{"p": "q"}, "finalizers": []any{"example.com/stay"}}}},
		{strategic, map[string]any{"metadata": map[string]any{"labels": []any{}}}},
		{strategic, map[string]any{"spec": map[string]any{"$patch": "turn"}}},
		{strategic, map[string]any{"spec": map[string]any{"$patch": "replace"}}},
		{"application/json", map[string]any{}},
		{"text/plain", map[string]any{}},
	} {
		what := fmt.Sprintf("patch %s %s", p.content, short(p.body))
		if _, err := s.ask(s.name, what, request{method: "PATCH", path: s.path + dry, content: p.content, body: p.body}); err != nil {
			return err
		}
	}
	_, err := s.ask(s.name, "real patch", request{method: "PATCH", path: s.path, content: mergePatch, body: map[string]any{"metadata": map[string]any{"annotations": map[string]any{"patched": "yes"}}}})
	return err
}

// clean is the object as one applies it.
func (s subject) clean() map[string]any {
	return set(set(s.obj, "/status", nil), "/metadata/labels/applied", "one")
}

func (s subject) applyAs(what, query string, obj any) error {
	_, err := s.ask(s.name, "apply, "+what, request{method: "PATCH", path: s.path + query, content: applyYAML, body: obj})
	return err
}

func (s subject) apply() error {
	return s.applyAs("for real", "?fieldManager=one&force=true", s.clean())
}

// tryApply applies the object, by one manager and then, changed, by another.
func (s subject) tryApply() error {
	if err := s.apply(); err != nil {
		return err
	}
	clean := s.clean()
	apply := s.applyAs
	for i, m := range s.all(clean) {
		if i%3 > 0 { // validation is that of an update
			continue
		}
		if err := apply(m.what, "?fieldManager=two&dryRun=All&fieldValidation=Strict", m.obj); err != nil {
			return err
		}
		if err := apply("with force, "+m.what, "?fieldManager=two&dryRun=All&force=true&fieldValidation=Strict", m.obj); err != nil {
			return err
		}
	}
	if err := apply("without a manager", "", clean); err != nil {
		return err
	}
	if err := apply("what is not there", "x?fieldManager=one&dryRun=All", set(clean, "/metadata/name", s.field("metadata", "name")+"x")); err != nil {
		return err
	}
	if err := apply("managed fields", "?fieldManager=one&dryRun=All", set(clean, "/metadata/managedFields", []any{map[string]any{}})); err != nil {
		return err
	}
	for _, sub := range []string{"status", "scale"} {
		if !slices.Contains(s.res.subs, sub) {
			continue
		}
		obj := map[string]any{"apiVersion": s.obj["apiVersion"], "kind": s.obj["kind"], "metadata": map[string]any{"name": s.field("metadata", "name")}, "status": s.obj["status"]}
		if sub == "scale" {
			obj = map[string]any{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": obj["metadata"], "spec": map[string]any{"replicas": 7.0}}
		}
		if err := apply(sub, "/"+sub+"?fieldManager=two", obj); err != nil {
			return err
		}
		if err := apply(sub+" with force", "/"+sub+"?fieldManager=two&force=true", obj); err != nil {
			return err
		}
	}
	_, err := s.ask(s.name, "GET what was applied", request{method: "GET", path: s.path})
	return err
}

func (s subject) tryRequests() error {
	for _, q := range s.requests {
		what := strings.Join([]string{q.method, q.path, q.content, short(q.body)}, " ")
		if _, err := s.ask(s.name, what, request{method: q.method, path: s.path + q.path, content: q.content, body: q.body}); err != nil {
			return err
		}
		if !q.vary {
			continue
		}
		for _, m := range mutations(q.body.(map[string]any)) {
			what := strings.Join([]string{q.method, q.path, q.content, m.what}, " ")
			if _, err := s.ask(s.name, what, request{method: q.method, path: s.path + q.path + dry, content: q.content, body: m.obj}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s subject) tryCollection() error {
	for _, q := range []string{"?dryRun=All", "?dryRun=All&labelSelector=none%3Dnone", "?dryRun=All&labelSelector=!!", "?dryRun=All&fieldSelector=bad%3Dx", "?dryRun=All&fieldSelector=metadata.name%3Dx", "?dryRun=Some"} {
		if _, err := s.ask(s.name, "DELETE collection"+q, request{method: "DELETE", path: s.coll + q}); err != nil {
			return err
		}
	}
	return nil
}

// describe compares what `kubectl describe` prints.
func (s subject) describe() error {
	gv, err := schema.ParseGroupVersion(s.field("apiVersion"))
	if err != nil {
		return err
	}
	gvk := gv.WithKind(s.field("kind"))
	var out [2]answer
	for i, server := range s.servers {
		d, ok := describe.DescriberFor(gvk.GroupKind(), server.rest)
		if !ok {
			scope := meta.RESTScopeRoot
			if s.res.namespaced {
				scope = meta.RESTScopeNamespace
			}
			d, _ = describe.GenericDescriberFor(&meta.RESTMapping{Resource: gv.WithResource(s.res.name), GroupVersionKind: gvk, Scope: scope}, server.rest)
		}
		text, err := d.Describe(s.field("metadata", "namespace"), s.field("metadata", "name"), describe.DescriberSettings{ShowEvents: true, ChunkSize: 500})
		if err != nil {
			text = err.Error()
		}
		out[i].Body = lines(steady(text))
	}
	s.report.add(s.name, "kubectl describe", differences(out[0], out[1]))
	return nil
}

func (s subject) die() error {
	type deletion struct {
		query string
		body  any
	}
	uid := "6a2ee91f-e13c-44db-9edc-4240e7383ab9"
	tried := []deletion{
		{"?dryRun=All", nil},
		{"?dryRun=All", map[string]any{"preconditions": map[string]any{"uid": uid}}},
		{"?dryRun=All", map[string]any{"preconditions": map[string]any{"resourceVersion": "1"}}},
		{"?dryRun=All", map[string]any{"propagationPolicy": "Some"}},
		{"?dryRun=All", map[string]any{"propagationPolicy": "Foreground"}},
		{"?dryRun=All", map[string]any{"propagationPolicy": "Orphan", "orphanDependents": true}},
		{"?dryRun=All&gracePeriodSeconds=-3", nil},
		{"?dryRun=All&gracePeriodSeconds=word", nil},
		{"?dryRun=All", map[string]any{"unknown": 1}},
		{"?dryRun=All", map[string]any{"kind": "Other", "apiVersion": "v1"}},
		{"?dryRun=Some", nil},
		{"x", nil},
		{"?propagationPolicy=Foreground", nil},
		{"?propagationPolicy=Background", nil},
	}
	if !s.first {
		tried = []deletion{{"", nil}}
	}
	for _, q := range tried {
		what := fmt.Sprintf("DELETE %s %s", q.query, short(q.body))
		if b, ok := q.body.(map[string]any); ok {
			q.body = set(b, "/dryRun", []any{"All"}) // servers do not look at the query then
		}
		if _, err := s.ask(s.name, what, request{method: "DELETE", path: s.path + q.query, body: q.body}); err != nil {
			return err
		}
	}
	_, err := s.ask(s.name, "GET what was deleted", request{method: "GET", path: s.path})
	return err
}

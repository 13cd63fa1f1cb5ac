package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDifferences(t *testing.T) {
	status := func(message string) map[string]any { return map[string]any{"kind": "Status", "message": message} }
	for _, c := range []struct {
		name         string
		ours, theirs answer
		want         []string
	}{
		{"the same is no difference", answer{Code: 200, Body: map[string]any{"a": 1.0}}, answer{Code: 200, Body: map[string]any{"a": 1.0}}, nil},
		{"codes are told with messages", answer{Code: 200}, answer{Code: 422, Body: status("no")}, []string{`code: "200", upstream "422 no"`}},
		{"messages are told instead of their causes", answer{Code: 422, Body: status("yes")}, answer{Code: 422, Body: status("no")}, []string{`message: "yes", upstream "no"`}},
		{"warnings are told", answer{Code: 200, Warnings: []string{"a"}}, answer{Code: 200}, []string{`warnings: ["a"], upstream []`}},
		{
			"fields are told one by one",
			answer{Code: 200, Body: map[string]any{"a": map[string]any{"b": 1.0}, "c": []any{1.0, 2.0}}},
			answer{Code: 200, Body: map[string]any{"a": map[string]any{"d": 1.0}, "c": []any{1.0, 3.0}}},
			[]string{".a.b: 1, upstream nothing", ".a.d: nothing, upstream 1", ".c[1]: 2, upstream 3"},
		},
		{
			"items are found by their names",
			answer{Body: []any{map[string]any{"name": "a", "x": 1.0}, map[string]any{"metadata": map[string]any{"name": "b"}}}},
			answer{Body: []any{map[string]any{"name": "a"}}},
			[]string{".a.x: 1, upstream nothing", `.b: {"metadata":{"name":"b"}}, upstream nothing`},
		},
		{
			"and their order is told alone",
			answer{Body: []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}},
			answer{Body: []any{map[string]any{"name": "b"}, map[string]any{"name": "a"}}},
			[]string{` order: ["a","b"], upstream ["b","a"]`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, d := range differences(c.ours, c.theirs) {
				got = append(got, d.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}

func TestNormalize(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		key      string
		in, want any
	}{
		{"a time that the server set", "creationTimestamp", "2026-11-21T12:00:01Z", "TIME"},
		{"a time that the client set", "startTime", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"a uid in a text", "message", "UID in precondition: 6a2ee91f-e13c-44db-9edc-4240e7383ab9", "UID in precondition: UID"},
		{"a given address", "clusterIP", "10.96.1.2", "ALLOCATED"},
		{"a wanted address", "clusterIP", "10.96.7.7", "10.96.7.7"},
		{"a given port", "nodePort", 31000.0, "ALLOCATED"},
		{
			"an object in a message", "message", `spec: Invalid value: {"Replicas":3}: no, a: Required value`,
			"spec: Invalid value: OBJECT: no, a: Required value",
		},
		{
			"an age in a table", "",
			map[string]any{"kind": "Table", "columnDefinitions": []any{map[string]any{"name": "Age"}}, "rows": []any{map[string]any{"cells": []any{"5s"}}}},
			map[string]any{"kind": "Table", "columnDefinitions": []any{map[string]any{"name": "Age"}}, "rows": []any{map[string]any{"cells": []any{"AGE"}}}},
		},
		{
			"managers of what the server made", "",
			map[string]any{"managedFields": []any{map[string]any{"manager": "kube-apiserver"}}},
			map[string]any{},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (normalizer{sent: `{"spec":{"clusterIP":"10.96.7.7"}}`, now: now}).value(c.key, c.in); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}

func TestMutationsChangeOneFieldEach(t *testing.T) {
	obj := map[string]any{"kind": "A", "spec": map[string]any{"n": 3.0, "on": true, "list": []any{map[string]any{"a/b": "x"}}}}
	all := mutations(obj, "kind")
	want := map[string]any{
		"/spec removed":               map[string]any{"kind": "A"},
		"/spec/n = -1":                map[string]any{"kind": "A", "spec": map[string]any{"n": -1.0, "on": true, "list": []any{map[string]any{"a/b": "x"}}}},
		"/spec/on = false":            map[string]any{"kind": "A", "spec": map[string]any{"n": 3.0, "on": false, "list": []any{map[string]any{"a/b": "x"}}}},
		"/spec/list/0 removed":        map[string]any{"kind": "A", "spec": map[string]any{"n": 3.0, "on": true, "list": []any{}}},
		`/spec/list/0/a~1b = "other"`: map[string]any{"kind": "A", "spec": map[string]any{"n": 3.0, "on": true, "list": []any{map[string]any{"a/b": "other"}}}},
	}
	for _, m := range all {
		if w, ok := want[m.what]; ok {
			if !reflect.DeepEqual(m.obj, w) {
				t.Errorf("%s makes %v, not %v", m.what, m.obj, w)
			}
			delete(want, m.what)
		}
		if reflect.DeepEqual(m.obj, obj) {
			t.Errorf("%s changes nothing", m.what)
		}
	}
	if len(want) > 0 {
		t.Errorf("not among the mutations: %v", want)
	}
}

func TestCorpusIsReadable(t *testing.T) {
	entries, err := load(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.field("metadata", "name") == "" && !strings.HasSuffix(e.field("kind"), "Review") || e.field("apiVersion") == "" {
			t.Errorf("no name or version: %v", e.obj)
		}
		for _, m := range e.tries {
			for path, v := range m {
				set(e.obj, path, v) // panics when there is no such place
			}
		}
	}
}

func TestWhatIsMeantIsLeftOutAndMissedWhenItIsGone(t *testing.T) {
	r := newReport([]meant{{subject: "Pod", difference: "hostIPs"}, {subject: "Node"}})
	r.add("v1 Pod web", "create", []difference{{".status.hostIPs", 1.0, absent}, {".status.podIPs", 1.0, absent}})
	r.add("v1 Pod other", "create", []difference{{".status.podIPs", 1.0, absent}})
	if len(r.found) != 1 || r.found[0].path != ".status.podIPs" || len(r.found[0].others) != 1 {
		t.Errorf("found %v", r.found)
	}
	if s := r.stale(); len(s) != 1 || s[0].subject != "Node" {
		t.Errorf("stale %v", s)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// mutation is an object with one thing in it changed.
type mutation struct {
	what string
	obj  map[string]any
}

// values that are put in place of every value of a kind of JSON, beside
// leaving it out: at the edge of what fields take, beyond it, and of another
// type.
var values = map[string][]any{
	"string": {"", "Bad_Value!", "other", strings.Repeat("a", 260), 7.0},
	"number": {-1.0, 0.0, 70000.0, 1.5, "word"},
	"bool":   {"flip", "word"},
	"list":   {[]any{}, "first twice", "first null", "word"},
	"map":    {map[string]any{}, "one more", "word"},
}

// mutations are the object with each of its fields changed to each of values.
// Metadata is left alone: it is the same for all kinds, see metadata.
func mutations(obj map[string]any, skip ...string) []mutation {
	var out []mutation
	for _, key := range slices.Sorted(maps.Keys(obj)) {
		if slices.Contains(skip, key) {
			continue
		}
		walk("/"+key, obj[key], func(path string, old any) {
			add := func(what string, v any) {
				out = append(out, mutation{path + " " + what, set(obj, path, v)})
			}
			add("removed", nil)
			for _, v := range changes(old) {
				add("= "+short(v), v)
			}
		})
	}
	return append(out, mutation{"/unknown added", set(obj, "/unknown", 1.0)})
}

// metadata are the mutations of metadata that every kind is tried with.
func metadata(obj map[string]any) []mutation {
	var out []mutation
	for _, c := range []struct {
		path string
		v    any
	}{
		{"/metadata", nil},
		{"/metadata/name", nil},
		{"/metadata/name", "Bad_Name!"},
		{"/metadata/name", strings.Repeat("a", 260)},
		{"/metadata/name", "a.b"},
		{"/metadata/name", "a:b"},
		{"/metadata/name", "a/b"},
		{"/metadata/namespace", "elsewhere"},
		{"/metadata/labels", map[string]any{"bad key!": "x"}},
		{"/metadata/labels", map[string]any{"a": "bad value!"}},
		{"/metadata/labels", map[string]any{"a": 1.0}},
		{"/metadata/labels", map[string]any{"a": "b"}},
		{"/metadata/annotations", map[string]any{"bad key!": "x"}},
		{"/metadata/annotations", map[string]any{"a": "any value!"}},
		{"/metadata/finalizers", []any{"bad value!"}},
		{"/metadata/finalizers", []any{"unqualified"}},
		{"/metadata/finalizers", []any{"example.com/stay", "foregroundDeletion"}},
		{"/metadata/finalizers", []any{"orphan", "foregroundDeletion"}},
		{"/metadata/ownerReferences", []any{map[string]any{}}},
		{"/metadata/ownerReferences", []any{map[string]any{"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "u"}}},
		{"/metadata/ownerReferences", []any{
			map[string]any{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u", "controller": true},
			map[string]any{"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "v", "controller": true},
		}},
		{"/metadata/generateName", "Bad_Name!"},
		{"/metadata/generation", 7.0},
		{"/metadata/generation", -7.0},
		{"/metadata/deletionTimestamp", "2026-01-02T03:04:05Z"},
		{"/metadata/deletionGracePeriodSeconds", 5.0},
		{"/metadata/creationTimestamp", "word"},
		{"/metadata/selfLink", "/x"},
		{"/metadata/uid", "6a2ee91f-e13c-44db-9edc-4240e7383ab9"},
		{"/metadata/resourceVersion", "1"},
		{"/metadata/resourceVersion", "word"},
		{"/metadata/unknown", 1.0},
		{"/metadata/managedFields", []any{map[string]any{"operation": "word"}}},
		{"/kind", "Other"},
		{"/kind", nil},
		{"/apiVersion", "other/v1"},
		{"/apiVersion", nil},
	} {
		out = append(out, mutation{c.path + " = " + short(c.v), set(obj, c.path, c.v)})
	}
	return out
}

func changes(old any) []any {
	switch old := old.(type) {
	case string:
		return values["string"]
	case float64, int64:
		return values["number"]
	case bool:
		return []any{!old, "word"}
	case []any:
		var out []any
		for _, v := range values["list"] {
			switch v {
			case "first twice":
				if len(old) > 0 {
					out = append(out, append(slices.Clone(old), old[0]))
				}
			case "first null":
				out = append(out, append([]any{nil}, old...))
			default:
				out = append(out, v)
			}
		}
		return out
	case map[string]any:
		var out []any
		for _, v := range values["map"] {
			if v == "one more" {
				more := maps.Clone(old)
				more["unknown field!"] = "x"
				v = more
			}
			out = append(out, v)
		}
		return out
	}
	return nil
}

// walk calls f for a value and all that is in it, with JSON pointers.
func walk(path string, v any, f func(path string, v any)) {
	f(path, v)
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			walk(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), v[k], f)
		}
	case []any:
		for i, e := range v {
			walk(path+"/"+strconv.Itoa(i), e, f)
		}
	}
}

// set gives a copy of the object in which the value at a JSON pointer is v;
// nil removes it, parents that are missing are made, and - is behind the end of
// a list.
func set(obj map[string]any, pointer string, v any) map[string]any {
	parts := strings.Split(pointer, "/")[1:]
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	return setIn(obj, parts, v).(map[string]any)
}

func setIn(in any, parts []string, v any) any {
	if len(parts) == 0 {
		return v
	}
	if list, ok := in.([]any); ok {
		i, err := strconv.Atoi(parts[0])
		if parts[0] == "-" {
			i, err = len(list), nil
			list = append(slices.Clone(list), nil)
		}
		if err != nil || i >= len(list) {
			panic(fmt.Sprintf("no place %q in a list of %d", parts[0], len(list)))
		}
		list = slices.Clone(list)
		if list[i] = setIn(list[i], parts[1:], v); list[i] == nil {
			return slices.Delete(list, i, i+1)
		}
		return list
	}
	m, _ := in.(map[string]any)
	if m = maps.Clone(m); m == nil {
		m = map[string]any{}
	}
	if m[parts[0]] = setIn(m[parts[0]], parts[1:], v); m[parts[0]] == nil {
		delete(m, parts[0])
	}
	return m
}

func short(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if s := string(raw); len(s) <= 50 {
		return s
	}
	return string(raw[:50]) + "…"
}

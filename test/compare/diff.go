package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// difference is one place in which two JSON values are not the same.
type difference struct {
	path         string
	ours, theirs any // absent when there is none
}

type nothing struct{}

var absent = nothing{}

func (nothing) String() string { return "nothing" }

func (d difference) String() string {
	return fmt.Sprintf("%s: %s, upstream %s", d.path, show(d.ours), show(d.theirs))
}

// brief is the difference as it is printed: of long values the part that
// differs, with what is around it.
func (d difference) brief() string {
	a, b := []rune(show(d.ours)), []rune(show(d.theirs))
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	end := 0
	for end < len(a)-same && end < len(b)-same && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return fmt.Sprintf("%s: %s, upstream %s", d.path, around(a, same, end), around(b, same, end))
}

// around leaves out all but the characters before the last end ones and behind
// the first start ones, and some beside them.
func around(s []rune, start, end int) string {
	const beside, inside = 100, 600
	head, tail, from, to := "", "", 0, len(s)
	if start > beside {
		head, from = "…", start-beside
	}
	if end > beside {
		tail, to = "…", len(s)-end+beside
	}
	out := head + string(s[from:to]) + tail
	if long := []rune(out); len(long) > inside+2*beside {
		out = string(long[:inside+2*beside]) + "…"
	}
	return out
}

const shown = 3000 // characters of a value that are looked at

func show(v any) string {
	if v == absent {
		return "nothing"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	s := string(raw)
	for from, to := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		s = strings.ReplaceAll(s, from, to)
	}
	if len(s) > shown {
		return s[:shown] + "…"
	}
	return s
}

// compare lists the differences of two JSON values, those of maps by key, and
// those of lists of one length by place.
func compare(path string, ours, theirs any) []difference {
	switch a := ours.(type) {
	case map[string]any:
		b, ok := theirs.(map[string]any)
		if !ok {
			break
		}
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		var out []difference
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			out = append(out, compare(path+"."+k, item(a, k), item(b, k))...)
		}
		return out
	case []any:
		b, ok := theirs.([]any)
		if !ok {
			break
		}
		if x, y := byName(a), byName(b); x != nil && y != nil {
			out := compare(path, x, y)
			if len(out) == 0 && !reflect.DeepEqual(a, b) {
				out = append(out, difference{path + " order", names(a), names(b)})
			}
			return out
		}
		if len(a) != len(b) {
			break
		}
		var out []difference
		for i := range a {
			out = append(out, compare(path+"["+strconv.Itoa(i)+"]", a[i], b[i])...)
		}
		return out
	}
	if reflect.DeepEqual(ours, theirs) {
		return nil
	}
	return []difference{{path, ours, theirs}}
}

// byName is a list of maps as a map by their names; nil: they have none.
func byName(list []any) map[string]any {
	out := map[string]any{}
	for _, name := range names(list) {
		out[name.(string)] = nil
	}
	if len(out) == 0 || len(out) != len(list) {
		return nil
	}
	for i, name := range names(list) {
		out[name.(string)] = list[i]
	}
	return out
}

// names of a list's items; none when one has no name.
func names(list []any) []any {
	out := make([]any, len(list))
	for i, e := range list {
		m, _ := e.(map[string]any)
		metadata, _ := m["metadata"].(map[string]any)
		if printed, ok := m["object"].(map[string]any); ok { // a table's row
			metadata, _ = printed["metadata"].(map[string]any)
		}
		for _, n := range []any{m["name"], m["resource"], m["version"], metadata["name"]} {
			if s, ok := n.(string); ok {
				out[i] = s
				break
			}
		}
		if out[i] == nil {
			return nil
		}
	}
	return out
}

func item(m map[string]any, key string) any {
	v, ok := m[key]
	if !ok {
		return absent
	}
	return v
}

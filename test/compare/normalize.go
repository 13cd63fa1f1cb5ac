package main

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// changing are parts of texts that are another on each server.
var changing = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`), "kube-api-access-RANDOM"},
	{regexp.MustCompile(`(127\.0\.0\.1|192\.0\.2\.[0-9]+):[0-9]+`), "SERVER"},
	{regexp.MustCompile(`\n@@[\s\S]*`), " DIFF"},                                     // of objects as Kubernetes keeps them
	{regexp.MustCompile(`(manager\\*":\\*")(?:skiff|kube-apiserver)`), "${1}SERVER"}, // the program's name, in messages
	{regexp.MustCompile(`(resourceVersion\\*":\\*"|in record \(|in object meta: |Too large resource version: [0-9]+, current: )[0-9]+`), "${1}VERSION"},
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`), "TOKEN"},
}

// ages are the columns that tell how long ago something was.
var ages = map[string]bool{"Age": true, "Last Seen": true, "First Seen": true, "Duration": true, "Last Schedule": true}

// normalizer takes out of an answer what is another on each server: what the
// servers give out, unless the client sent it.
type normalizer struct {
	sent string // the request's body
	now  time.Time
}

func (n normalizer) answer(a answer) answer {
	return answer{Code: a.Code, Headers: a.Headers, Warnings: n.texts(a.Warnings), Body: n.value("", a.Body)}
}

func (n normalizer) texts(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = n.text(s)
	}
	return out
}

func (n normalizer) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if k == "managedFields" && ofServer(e) {
				continue
			}
			out[k] = n.value(k, e)
		}
		if out["kind"] == "Table" {
			n.table(out)
		}
		for _, rules := range []string{"resourceRules", "nonResourceRules"} {
			if l, ok := out[rules].([]any); ok && out["incomplete"] != nil {
				slices.SortFunc(l, func(a, b any) int { return strings.Compare(show(a), show(b)) }) // of a review: in any order
			}
		}
		if out["kind"] == "Status" && out["reason"] == "Conflict" {
			sortCauses(out["details"]) // those of an apply come in any order
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = n.value(key, e)
		}
		return out
	case string:
		switch key {
		case "resourceVersion", "uid":
			if v == "" {
				return v
			}
			return strings.ToUpper(key)
		case "expirationTimestamp": // of a token: in an hour
			if _, err := time.Parse(time.RFC3339, v); err == nil {
				return "TIME"
			}
		case "continue":
			return "CONTINUE"
		case "manager":
			if v == "skiff" || v == "kube-apiserver" {
				return "SERVER"
			}
		}
		return n.text(v)
	case float64:
		if key == "nodePort" || key == "healthCheckNodePort" {
			if v >= 30000 && v < 32768 && !strings.Contains(n.sent, `"`+key+`"`) {
				return "ALLOCATED"
			}
		}
		return v
	}
	return v
}

// ofServer says whether only the servers themselves manage an object: skiff's
// makes its first objects without saying so, which takes time at each start.
func ofServer(managed any) bool {
	l, _ := managed.([]any)
	return !slices.ContainsFunc(l, func(e any) bool { return text(e, "manager") != "kube-apiserver" && text(e, "manager") != "skiff" })
}

// text replaces times that the server has set, which are near now.
func (n normalizer) text(s string) string {
	if len(s) >= 20 && len(s) <= 35 {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && t.Sub(n.now).Abs() < 30*time.Minute {
			return "TIME"
		}
	}
	for _, c := range changing {
		s = c.pattern.ReplaceAllString(s, c.by)
	}
	s = allocated(s)
	if len(s) > 35 {
		s = shownObject(s)
		s = moment.ReplaceAllStringFunc(s, n.text)
	}
	return s
}

var moment = regexp.MustCompile(`20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z`)

var age = regexp.MustCompile(`^[0-9]+(s|m|h|m[0-9]+s)$`)

// table takes the ages out of a table's cells.
func (n normalizer) table(t map[string]any) {
	columns, _ := t["columnDefinitions"].([]any)
	rows, _ := t["rows"].([]any)
	for i, c := range columns {
		name, _ := c.(map[string]any)["name"].(string)
		if !ages[name] {
			continue
		}
		for _, r := range rows {
			cells, _ := r.(map[string]any)["cells"].([]any)
			if i < len(cells) {
				if s, ok := cells[i].(string); ok && age.MatchString(s) {
					cells[i] = "AGE"
				}
			}
		}
	}
}

// given are the addresses of services that the servers give out, of the range
// that both have and of one that the corpus adds.
var given = regexp.MustCompile(`\b10\.9[68]\.[0-9]+\.[0-9]+(/[0-9]+)?`)

// wanted are those that the corpus asks for.
var wanted = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, e := range must(load(true)) {
		raw, _ := json.Marshal(e.obj)
		tries, _ := json.Marshal(e.tries)
		for _, ip := range given.FindAllString(string(raw)+string(tries), -1) {
			out[ip] = true
		}
	}
	return out
})

func allocated(s string) string {
	return given.ReplaceAllStringFunc(s, func(ip string) string {
		if strings.Contains(ip, "/") || wanted()[ip] {
			return ip
		}
		return "ALLOCATED"
	})
}

// unsteady are parts of what kubectl describe prints.
var unsteady = regexp.MustCompile(`((?:Creation ?Timestamp|Created on|Start Time|Last Transition Time|Last Update Time|Resource Version|Time|UID|Age): +).*`)

// steady takes out of kubectl's text what is another on each server.
func steady(s string) string {
	for _, c := range changing {
		s = c.pattern.ReplaceAllString(s, c.by)
	}
	return unsteady.ReplaceAllString(allocated(s), "${1}CHANGING")
}

func sortCauses(details any) {
	causes := items(details, "causes")
	slices.SortFunc(causes, func(a, b any) int {
		return cmp.Or(strings.Compare(text(a, "field"), text(b, "field")), strings.Compare(text(a, "message"), text(b, "message")))
	})
}

// shownObject takes out the objects that a message shows, which Kubernetes
// does by the names of its internal fields and in their order.
func shownObject(s string) string {
	const before = " value: "
	var out strings.Builder
	for {
		head, tail, ok := strings.Cut(s, before)
		out.WriteString(head)
		if !ok {
			return out.String()
		}
		out.WriteString(before)
		d := json.NewDecoder(strings.NewReader(tail))
		var v any
		if !strings.HasPrefix(tail, "{") && !strings.HasPrefix(tail, "[{") || d.Decode(&v) != nil {
			s = tail
			continue
		}
		out.WriteString("OBJECT")
		s = tail[d.InputOffset():]
	}
}

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// report collects the differences.
type report struct {
	asked int
	found []*found
	seen  map[string]*found
	meant []meant
	wide  bool // the further objects are tried too
}

// found is a difference, with what was done when it was seen first.
type found struct {
	subject, what string
	difference
	more   int             // further times
	others map[string]bool // subjects that it was seen with as well
}

func newReport(meant []meant) *report { return &report{seen: map[string]*found{}, meant: meant} }

// add notes the differences of what the two answer to one request.
func (r *report) add(subject, what string, all []difference) {
	r.asked++
	for _, d := range all {
		if r.isMeant(subject, what, d) {
			continue
		}
		key := general(subject, d.String())
		if f := r.seen[key]; f != nil {
			f.more++
			if f.subject != subject {
				f.others[subject] = true
			}
			continue
		}
		f := &found{subject: subject, what: what, difference: d, others: map[string]bool{}}
		r.seen[key] = f
		r.found = append(r.found, f)
	}
}

// general is a difference without what names the object: many kinds have the
// same one.
func general(subject, d string) string {
	words := strings.Fields(subject)
	if len(words) < 3 {
		return subject + d
	}
	group, _, _ := strings.Cut(words[0], "/")
	for i, w := range []string{words[0], words[1] + "." + group, words[1], words[2]} {
		d = strings.ReplaceAll(d, w, []string{"GV", "KIND", "KIND", "NAME"}[i])
	}
	return d
}

func (r *report) isMeant(subject, what string, d difference) bool {
	for i := range r.meant {
		if r.meant[i].matches(subject, what, d) {
			r.meant[i].seen = true
			return true
		}
	}
	return false
}

// stale are the entries of meant that nothing matched, but for those of objects
// that were not tried.
func (r *report) stale() []meant {
	var out []meant
	for _, m := range r.meant {
		if !m.seen && !m.sometimes && (r.wide || !m.wide) {
			out = append(out, m)
		}
	}
	return out
}

func (r *report) print(w io.Writer) {
	slices.SortStableFunc(r.found, func(a, b *found) int { return strings.Compare(a.subject, b.subject) })
	last := ""
	for _, f := range r.found {
		if f.subject != last {
			last = f.subject
			fmt.Fprintf(w, "%s\n", last)
		}
		more := ""
		if f.more > 0 {
			more = fmt.Sprintf(" (and %d times more, of %d other objects)", f.more, len(f.others))
			if len(f.others) > 0 {
				more += fmt.Sprintf(" %q", slices.Sorted(maps.Keys(f.others)))
			}
		}
		fmt.Fprintf(w, "  %s%s\n    %s\n", f.what, more, f.difference.brief())
	}
}

// differences of two answers. Those of errors are told by their messages, which
// hold everything, and by their codes alone when those differ.
func differences(ours, theirs answer) []difference {
	if ours.Code != theirs.Code {
		return []difference{{"code", brief(ours), brief(theirs)}}
	}
	out := append(compare("header", ours.Headers, theirs.Headers), compare("warnings", list(ours.Warnings), list(theirs.Warnings))...)
	if a, b := message(ours.Body), message(theirs.Body); a != b {
		return append(out, difference{"message", a, b})
	}
	return append(out, compare("", ours.Body, theirs.Body)...)
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

func brief(a answer) string {
	if m := message(a.Body); m != "" {
		return fmt.Sprintf("%d %s", a.Code, m)
	}
	return fmt.Sprint(a.Code)
}

// message is a Status' message.
func message(body any) string {
	m, ok := body.(map[string]any)
	if !ok || m["kind"] != "Status" {
		return ""
	}
	s, _ := m["message"].(string)
	return s
}

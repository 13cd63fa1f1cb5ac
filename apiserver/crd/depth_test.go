package crd

import (
	"bytes"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestLevels(t *testing.T) {
	for name, c := range map[string]struct {
		json string
		want int
	}{
		"a word has none":                      {`"word"`, 0},
		"objects and lists count":              {`{"a":[{"b":1},2]}`, 3},
		"what is beside each other doesn't":    {`[[1],[2],{"a":{}}]`, 3},
		"brackets in a string don't":           {`{"a":"{[{["}`, 1},
		"nor behind an escaped quotation mark": {`{"a":"\"{[","b":"\\"}`, 1},
	} {
		for _, size := range []int{1, 3, len(c.json)} {
			out := &bytes.Buffer{}
			l := &levels{to: out}
			for rest := c.json; rest != ""; {
				n := min(size, len(rest))
				if _, err := l.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if l.most != c.want || l.now != 0 || out.String() != c.json {
				t.Errorf("%s, by %d bytes: %d levels, %d at the end, %s", name, size, l.most, l.now, out)
			}
		}
	}
}

func TestWhatIsTooDeepIsNotEncoded(t *testing.T) {
	codec := shallow{unstructured.UnstructuredJSONScheme}
	for name, c := range map[string]struct {
		depth int
		fault bool
	}{
		"as deep as can be": {deepest - 2, false},
		"one level more":    {deepest - 1, true},
	} {
		var spec any = "end"
		for range c.depth {
			spec = map[string]any{"a": spec}
		}
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Deep", "list": []any{spec}}}
		err := codec.Encode(u, &bytes.Buffer{})
		if c.fault != apierrors.IsRequestEntityTooLargeError(err) || err != nil && !strings.Contains(err.Error(), "at most 9900 can be stored") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

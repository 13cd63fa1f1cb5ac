package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// corpus holds the objects, in the order in which they are created. After an
// object come, in documents of their own, what is tried with it:
//
//	tries:                       # changes, each of one or more fields
//	- {/spec/replicas: -1}
//	requests:                    # further requests; path is behind the object's
//	- {method: PUT, path: /scale, body: {…}}
//	- {method: POST, path: /token, vary: true, body: {…}} # also with each field of the body changed, as dry runs
//
//go:embed corpus/*.yaml corpus/wide/*.yaml
var corpus embed.FS

// entry is an object and what is tried with it.
type entry struct {
	obj      map[string]any
	tries    []map[string]any
	requests []extra
}

// extra is a request about an object, sent once it exists.
type extra struct {
	method, path, content string
	body                  any
	vary                  bool // the body is mutated too
}

func (e entry) field(path ...string) string {
	var v any = e.obj
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

// load reads the objects of every kind, and with wide the further ones, which
// have all that their kinds can have.
func load(wide bool) ([]entry, error) {
	patterns := []string{"corpus/*.yaml"}
	if wide {
		patterns = append(patterns, "corpus/wide/*.yaml")
	}
	var out []entry
	for _, p := range patterns {
		files, err := fs.Glob(corpus, p)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			raw, err := corpus.ReadFile(f)
			if err != nil {
				return nil, err
			}
			if out, err = read(out, raw); err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
		}
	}
	return out, nil
}

// must is for what is built into the program.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// read adds the documents of a file.
func read(to []entry, raw []byte) ([]entry, error) {
	for d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		var doc map[string]any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return to, nil
		} else if err != nil {
			return nil, err
		}
		if doc["kind"] != nil {
			to = append(to, entry{obj: doc})
			continue
		}
		if len(to) == 0 {
			return nil, errors.New("what is tried comes after an object")
		}
		last := &to[len(to)-1]
		for key, v := range doc {
			all, ok := v.([]any)
			if !ok {
				return nil, fmt.Errorf("%s is no list", key)
			}
			for _, one := range all {
				m, ok := one.(map[string]any)
				switch {
				case key == "tries" && ok:
					last.tries = append(last.tries, m)
				case key == "requests" && ok:
					text := func(k string) string { s, _ := m[k].(string); return s }
					last.requests = append(last.requests, extra{text("method"), text("path"), text("content"), m["body"], m["vary"] == true})
				default:
					return nil, fmt.Errorf("%s: unknown, or not a list of maps", key)
				}
			}
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// runner asks both servers the same.
type runner struct {
	ctx       context.Context //nolint:containedctx // of the one run that there is
	servers   [2]*server      // ours, theirs
	report    *report
	only      *regexp.Regexp
	resources map[string]resource // by apiVersion and kind, as upstream serves them
}

// resource is what discovery says of a kind.
type resource struct {
	path       string // "/apis/apps/v1"
	name       string
	namespaced bool
	verbs      []string
	others     []string // paths of the group's other versions that serve it
	subs       []string // subresources
}

// ask sends a request to both and notes how the answers differ.
func (r *runner) ask(subject, what string, q request) ([2]answer, error) {
	return r.askEach(subject, what, func(int) request { return q })
}

// askEach is ask when the request holds what is another on each server.
func (r *runner) askEach(subject, what string, q func(i int) request) ([2]answer, error) {
	var raw, out [2]answer
	var errs [2]error
	done := make(chan struct{})
	get := func(i int) {
		q := q(i)
		raw[i], errs[i] = r.servers[i].do(r.ctx, q)
		if errs[i] != nil && strings.Contains(errs[i].Error(), "stream error") { // it panicked: this request has no answer
			raw[i], errs[i] = answer{Body: "panic"}, nil
		}
		if errs[i] != nil {
			return
		}
		sent, _ := json.Marshal(q.body)
		out[i] = normalizer{sent: string(sent), now: time.Now()}.answer(raw[i])
	}
	go func() { defer close(done); get(0) }()
	get(1)
	<-done
	for _, err := range errs {
		if err != nil {
			return raw, err
		}
	}
	r.report.add(subject, what, differences(out[0], out[1]))
	return raw, nil
}

// object is the URL path of an object, or of its kind's collection when it has
// no name.
func (res resource) url(namespace, name string) string {
	path := res.path
	if res.namespaced && namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/" + res.name
	if name != "" {
		path += "/" + name
	}
	return path
}

func groupPath(apiVersion string) string {
	if strings.Contains(apiVersion, "/") {
		return "/apis/" + apiVersion
	}
	return "/api/" + apiVersion
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	restclient "k8s.io/client-go/rest"
)

// server is one of the two.
type server struct {
	rest *restclient.Config
	http *http.Client
}

// newServer is a client that is the same user on both servers, and asks for JSON.
func newServer(c *restclient.Config) (*server, error) {
	c = restclient.CopyConfig(c)
	c.ContentType, c.AcceptContentTypes = "application/json", "application/json"
	c.Impersonate = restclient.ImpersonationConfig{UserName: "jane", Groups: []string{"system:masters"}}
	c.UserAgent = "compare/1"
	c.QPS = -1
	h, err := restclient.HTTPClientFor(c)
	return &server{rest: c, http: h}, err
}

// request is what both servers are asked.
type request struct {
	method, path string
	accept       string // empty: JSON
	content      string // empty: JSON
	body         any    // nil: none; []byte as it is, else as JSON
}

// answer is what one of them says, with what is another on each server taken out.
type answer struct {
	Code     int
	Warnings []string
	Body     any
}

func (s *server) do(ctx context.Context, r request) (answer, error) {
	var sent []byte
	switch b := r.body.(type) {
	case nil:
	case []byte:
		sent = b
	default:
		var err error
		if sent, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, strings.TrimSuffix(s.rest.Host, "/")+r.path, bytes.NewReader(sent))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", s.rest.UserAgent)
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.content != "" {
		req.Header.Set("Content-Type", r.content)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	out := answer{Code: resp.StatusCode, Warnings: resp.Header["Warning"]}
	if json.Unmarshal(raw, &out.Body) != nil {
		out.Body = string(raw)
	}
	return out, nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
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
	Headers  map[string]any // those of headers
	Warnings []string
	Body     any
}

// headers are compared too.
var headers = []string{"Content-Type", "Cache-Control", "Allow", "Retry-After", "Www-Authenticate", "Location", "Vary"}

// patience is how long an answer may take, as that to a watch which does not end
// when it should.
const patience = 30 * time.Second

func (s *server) do(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNoAnswer)
	defer cancel()
	a, err := s.send(ctx, r)
	if errors.Is(context.Cause(ctx), errNoAnswer) {
		return answer{Body: errNoAnswer.Error()}, nil
	}
	return a, err
}

var errNoAnswer = errors.New("no answer within half a minute")

func (s *server) send(ctx context.Context, r request) (answer, error) {
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
	out := answer{Code: resp.StatusCode, Headers: map[string]any{}, Warnings: resp.Header["Warning"]}
	for _, h := range headers {
		if v := resp.Header.Values(h); len(v) > 0 {
			out.Headers[h] = strings.Join(v, ", ")
		}
	}
	out.Body = decode(raw, resp.Header.Get("Content-Type"))
	return out, nil
}

// decode gives JSON's value, the values of a watch as a list, and of what is
// not text that it is there.
func decode(raw []byte, content string) any {
	if !utf8.Valid(raw) || strings.Contains(content, "protobuf") || strings.Contains(content, "cbor") {
		return "data"
	}
	if strings.Contains(content, "yaml") {
		var v any
		if yaml.Unmarshal(raw, &v) == nil {
			return v
		}
	}
	var events []any
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		var v any
		err := d.Decode(&v)
		switch {
		case errors.Is(err, io.EOF) && len(events) == 1:
			return events[0]
		case errors.Is(err, io.EOF) && len(events) > 1:
			return events
		case err != nil:
			return string(raw)
		}
		events = append(events, v)
	}
}

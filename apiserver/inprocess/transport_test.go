package inprocess_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/skiffcluster/skiff/apiserver/inprocess"
)

const patience = 30 * time.Second

// serving gives a transport over f and a function that sends a request.
func serving(t *testing.T, f http.HandlerFunc) (*inprocess.Transport, func(ctx context.Context, method, path, body string) (*http.Response, error)) {
	t.Helper()
	tr := inprocess.New()
	tr.Serve(f)
	t.Cleanup(tr.Close)
	return tr, func(ctx context.Context, method, path, body string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, "http://in-process"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return tr.RoundTrip(req)
	}
}

func closed(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal(what)
	}
}

func TestAnswersAreWhatTheHandlerWrote(t *testing.T) {
	for _, c := range []struct {
		name    string
		path    string
		handler http.HandlerFunc
		code    int
		header  string
		body    string
	}{
		{"nothing written is OK", "/a", func(http.ResponseWriter, *http.Request) {}, 200, "", ""},
		{"a body alone is OK", "/a", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, 200, "", "hello"},
		{"a header after the code is not sent", "/a", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", "before")
			w.WriteHeader(404)
			w.Header().Set("X", "after")
			w.WriteHeader(500)
		}, 404, "before", ""},
		{"the request's body is read", "/a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, 200, "", "sent"},
		{"path and query are as sent", "/a%20b?c=d", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI+" "+r.URL.Path) }, 200, "", "/a%20b?c=d /a b"},
		{"a stream that ends at once", "/a?watch=1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, 403, "", ""},
		{"a stream with a body", "/a?follow=true", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, 200, "", "sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, do := serving(t, c.handler)
			// Often: an answer must not depend on who is faster.
			for range 200 {
				res, err := do(t.Context(), "POST", c.path, "sent")
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if cerr := res.Body.Close(); err != nil || cerr != nil {
					t.Fatal(err, cerr)
				}
				if res.StatusCode != c.code || res.Header.Get("X") != c.header || string(body) != c.body {
					t.Fatalf("%d %q %q", res.StatusCode, res.Header.Get("X"), body)
				}
			}
		})
	}
}

func TestRequestsHaveAnIdentity(t *testing.T) {
	tr, _ := serving(t, func(w http.ResponseWriter, r *http.Request) {
		a, ok, err := inprocess.Authenticate(r)
		if err != nil || !ok {
			_, _ = fmt.Fprint(w, "nobody")
			return
		}
		_, _ = fmt.Fprint(w, a.User.GetName())
	})
	for want, rt := range map[string]http.RoundTripper{"nobody": tr, "me": tr.As(&user.DefaultInfo{Name: "me"})} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	for _, path := range []string{"/a", "/a?watch=1"} {
		_, do := serving(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		res, err := do(t.Context(), "GET", path, "")
		if err == nil || err.Error() != "request aborted: net/http: abort Handler" {
			t.Errorf("%s: %v", path, err)
		}
		if res != nil {
			_ = res.Body.Close()
		}
	}
	_, do := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("broken")
	})
	res, err := do(t.Context(), "GET", "/a?watch=1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if string(body) != "half" || err == nil || err.Error() != "request aborted: broken" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestTheEndOfAClientEndsTheHandler(t *testing.T) {
	for name, end := range map[string]func(res *http.Response, cancel func()){
		"the body is closed":   func(res *http.Response, _ func()) { _ = res.Body.Close() },
		"the context is ended": func(_ *http.Response, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			_, do := serving(t, func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				close(ended)
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res, err := do(ctx, "GET", "/a?watch=1", "")
			if err != nil {
				t.Fatal(err)
			}
			end(res, cancel)
			closed(t, ended, "the handler goes on")
			if _, err := res.Body.Read(make([]byte, 1)); err == nil {
				t.Error("there is still something to read")
			}
			_ = res.Body.Close()
		})
	}
}

func TestAContextEndsARequestBeforeItsAnswer(t *testing.T) {
	_, do := serving(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, path := range []string{"/a", "/a?watch=1"} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		res, err := do(ctx, "GET", path, "")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
		if res != nil {
			_ = res.Body.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res, err := do(ctx, "GET", "/a", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v %v", res, err)
	}
}

func TestAClientThatDoesNotReadStopsTheWriter(t *testing.T) {
	const part = 64 << 10
	var written atomic.Int64
	ended := make(chan error, 1)
	_, do := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			n, err := w.Write(bytes.Repeat([]byte("x"), part))
			if err != nil {
				ended <- err
				return
			}
			written.Add(int64(n))
		}
		ended <- nil
	})
	res, err := do(t.Context(), "GET", "/a?watch=1", "")
	if err != nil {
		t.Fatal(err)
	}
	// Read all: everything comes, and no more waited than is allowed.
	var read int64
	buf := make([]byte, part)
	for {
		n, err := res.Body.Read(buf)
		read += int64(n)
		if ahead := written.Load() - read; ahead > 2<<20 {
			t.Fatalf("%d bytes wait", ahead)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = res.Body.Close()
	if err := <-ended; err != nil || read != 64*part {
		t.Errorf("%v, read %d", err, read)
	}

	// Read nothing and leave: the writer is told.
	if res, err = do(t.Context(), "GET", "/a?watch=1", ""); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

func TestCloseEndsAllAndRefusesMore(t *testing.T) {
	var running sync.WaitGroup
	begun := make(chan struct{}, 20)
	tr, do := serving(t, func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		if strings.Contains(r.URL.RawQuery, "watch") {
			w.(http.Flusher).Flush()
		}
		begun <- struct{}{}
		<-r.Context().Done()
	})
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			path := "/a"
			if i%2 == 0 {
				path += "?watch=1"
			}
			res, err := do(t.Context(), "GET", path, "")
			if err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	for range 20 {
		<-begun
	}
	tr.Close()
	running.Wait()
	clients.Wait()
	if _, err := do(t.Context(), "GET", "/a", ""); !errors.Is(err, inprocess.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
	if _, err := inprocess.New().RoundTrip(req); !errors.Is(err, inprocess.ErrClosed) {
		t.Errorf("before the beginning: %v", err)
	}
}

// told is a body that says when it is closed.
type told struct {
	io.Reader
	closed *bool
}

func (b told) Close() error { *b.closed = true; return nil }

func TestBodiesOfRequestsAreClosed(t *testing.T) {
	tr, _ := serving(t, func(http.ResponseWriter, *http.Request) {})
	down := inprocess.New()
	for _, rt := range []*inprocess.Transport{tr, down} {
		done := false
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://x/", told{strings.NewReader("x"), &done})
		if res, err := rt.RoundTrip(req); err == nil {
			_ = res.Body.Close()
		}
		if !done {
			t.Error("the body is open")
		}
	}
}

func TestWhoReadsTooEarlyReadsAgain(t *testing.T) {
	for _, c := range []struct {
		name         string
		method, path string
		want         int
	}{
		{"a resource whose cache is being filled", http.MethodGet, "/api/v1/pods", http.StatusOK},
		{"a watch of it", http.MethodGet, "/api/v1/pods?watch=true", http.StatusOK},
		{"a write that is refused", http.MethodPost, "/api/v1/namespaces/default/pods/a/eviction", http.StatusTooManyRequests},
		{"a pod that refuses", http.MethodGet, "/api/v1/namespaces/default/pods/a/proxy/b", http.StatusTooManyRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			tr, _ := serving(t, func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) < 3 {
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://in-process"+c.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := tr.As(&user.DefaultInfo{Name: "somebody"}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != c.want {
				t.Errorf("got %d after %d requests, want %d", answer.StatusCode, asked.Load(), c.want)
			}
		})
	}
}

// TestAStreamArrives has a handler that goes on only when its client has read
// what it has written.
func TestAStreamArrives(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []string
		flush bool
	}{
		{"what is flushed", []string{"one"}, true},
		{"what is flushed, in several parts", []string{"head", "body"}, true},
		{"also when a part is empty", []string{"", "body"}, true},
		{"much, without being flushed", []string{strings.Repeat("x", 8<<10)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := make(chan struct{})
			_, do := serving(t, func(w http.ResponseWriter, r *http.Request) {
				for range 3 {
					for _, part := range c.parts {
						_, _ = io.WriteString(w, part)
					}
					if c.flush {
						w.(http.Flusher).Flush()
					}
					select {
					case <-read:
					case <-r.Context().Done():
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			res, err := do(ctx, "GET", "/a?watch=1", "")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			want := strings.Join(c.parts, "")
			for range 3 {
				got := make([]byte, len(want))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
					t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
				}
				read <- struct{}{}
			}
			if n, err := res.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %d bytes, %v", n, err)
			}
		})
	}
}

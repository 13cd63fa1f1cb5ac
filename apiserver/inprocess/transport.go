// Package inprocess lets clients in the server's own process call it without
// a socket, TLS or HTTP framing.
//
// A [Transport] is an http.RoundTripper over the server's handler. Requests
// that end by themselves run on the caller's goroutine; watches and other
// streams run beside it. Reads and writes nothing of its own.
package inprocess

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
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// ErrClosed is returned for requests before Serve or after Close.
var ErrClosed = errors.New("the API server in this process is not running")

// Transport calls an http.Handler in this process. Its zero value refuses
// requests until Serve.
type Transport struct {
	handler atomic.Pointer[http.Handler]
	closing context.Context //nolint:containedctx // the life of all streams
	close   context.CancelFunc

	mu       sync.RWMutex // guards closed, not the requests
	closed   bool
	requests sync.WaitGroup
}

// New gives a Transport that refuses requests until Serve.
func New() *Transport {
	ctx, cancel := context.WithCancel(context.Background())
	return &Transport{closing: ctx, close: cancel}
}

// Serve makes the handler answer from now on.
func (t *Transport) Serve(h http.Handler) { t.handler.Store(&h) }

// Close refuses further requests, ends those under way and waits for them.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.close()
	t.requests.Wait()
}

// enter counts a request that begins; it must call t.requests.Done.
func (t *Transport) enter() (http.Handler, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	h := t.handler.Load()
	if h == nil || t.closed {
		return nil, ErrClosed
	}
	t.requests.Add(1)
	return *h, nil
}

// As gives a transport whose requests come from u: there is no connection
// whose certificate could say who asks.
func (t *Transport) As(u user.Info) http.RoundTripper { return identified{t, u} }

type identified struct {
	t *Transport
	u user.Info
}

type identityKey struct{}

// Identity is who sent a request through As.
func Identity(ctx context.Context) (user.Info, bool) {
	u, ok := ctx.Value(identityKey{}).(user.Info)
	return u, ok
}

// RoundTrip implements http.RoundTripper. Who reads a resource whose watch cache
// is being filled is told to come again after a second. That is longer than a
// start, of which it takes a millisecond or two: the request is made again
// sooner here, for about that second.
func (i identified) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(context.WithValue(r.Context(), identityKey{}, i.u))
	for wait := time.Millisecond; ; wait *= 2 {
		answer, err := i.t.RoundTrip(r)
		if err != nil || !initializing(r, answer) || wait > time.Second/2 {
			return answer, err
		}
		_ = answer.Body.Close() // in memory
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// initializing says whether a reader came too early. Nothing else refuses those
// who read in this process: their number is not limited.
func initializing(r *http.Request, answer *http.Response) bool {
	return r.Method == http.MethodGet && answer.StatusCode == http.StatusTooManyRequests && !strings.Contains(r.URL.Path, "/proxy")
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	if err := r.Context().Err(); err != nil {
		_ = body.Close()
		return nil, err
	}
	h, err := t.enter()
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.Body = body
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	stop := context.AfterFunc(t.closing, cancel)
	if streams(r) {
		return t.stream(r.Context(), h, in, func() { stop(); cancel() })
	}
	defer t.requests.Done()
	defer cancel()
	defer stop()
	w := &buffer{header: http.Header{}}
	if err := serve(h, w, in); err != nil {
		return nil, err
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusOK)
	return response(r, w.code, w.sent, io.NopCloser(bytes.NewReader(w.body.Bytes())), int64(w.body.Len())), nil
}

// streams says whether the answer has no end of its own.
func streams(r *http.Request) bool {
	q := r.URL.RawQuery
	return strings.Contains(q, "watch=") || strings.Contains(q, "follow=") ||
		strings.Contains(r.URL.Path, "/watch/") || strings.Contains(r.URL.Path, "/proxy")
}

// serve runs the handler; a panic, which is how net/http's handlers abort,
// becomes an error.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		_ = r.Body.Close()
		if p := recover(); p != nil {
			err = fmt.Errorf("request aborted: %v", p)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

func response(r *http.Request, code int, h http.Header, body io.ReadCloser, length int64) *http.Response {
	return &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)),
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: h, Body: body, ContentLength: length, Request: r,
	}
}

// stream runs the handler beside the caller, whose context is asked, until
// there is an answer's header or none will come.
func (t *Transport) stream(asked context.Context, h http.Handler, r *http.Request, cancel context.CancelFunc) (*http.Response, error) {
	p := &pipe{header: http.Header{}, started: make(chan struct{}), cancel: cancel}
	p.wake = sync.NewCond(&p.mu)
	aborted := make(chan error, 1)
	stopReading := context.AfterFunc(r.Context(), p.abort)
	go func() {
		defer t.requests.Done()
		defer cancel()
		defer stopReading()
		if err := serve(h, p, r); err != nil {
			aborted <- err // before the end of reading, which it is the reason of
			p.finish(err)
			return
		}
		p.WriteHeader(http.StatusOK)
		p.finish(io.EOF)
	}()
	select {
	case <-p.started:
	case err := <-aborted:
		select {
		case <-p.started:
		default:
			return nil, err
		}
	case <-asked.Done():
		p.abort()
		cancel()
		return nil, context.Cause(asked)
	}
	return response(r, p.code, p.sent, p, -1), nil
}

// buffer collects an answer that ends.
type buffer struct {
	header http.Header
	sent   http.Header
	code   int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(code int) {
	if b.code == 0 {
		b.code, b.sent = code, b.header.Clone()
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func (b *buffer) Flush() { b.WriteHeader(http.StatusOK) }

// CloseNotify is what k8s.io/apiserver's response writers want to see before
// they let a handler flush; the request's context is what tells of the end.
func (b *buffer) CloseNotify() <-chan bool { return nil }

// maxPipe is how much of a stream may wait unread before the server's write
// blocks: a client that does not read must not fill our memory.
const maxPipe = 1 << 20

// flushAt is how much wakes the reader without a Flush, as it does on a
// connection: an event comes in two writes, and the reader's turn costs more than
// what he would read of the first.
const flushAt = 4 << 10

// maxKept is the largest buffer that is used again.
const maxKept = 64 << 10

// buffers are those of pipes with something to read, which few of many are.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// pipe carries an answer that goes on: the handler writes while the client
// reads.
type pipe struct {
	header  http.Header
	sent    http.Header
	code    int
	once    sync.Once
	started chan struct{}
	cancel  context.CancelFunc

	mu      sync.Mutex
	wake    *sync.Cond
	unread  *bytes.Buffer // nil: nothing
	err     error         // that ends reading
	aborted bool
}

func (p *pipe) Header() http.Header { return p.header }

func (p *pipe) WriteHeader(code int) {
	p.once.Do(func() { p.code, p.sent = code, p.header.Clone(); close(p.started) })
}

func (p *pipe) Flush() {
	p.WriteHeader(http.StatusOK)
	p.mu.Lock()
	p.wake.Broadcast()
	p.mu.Unlock()
}

// CloseNotify is as the buffer's.
func (p *pipe) CloseNotify() <-chan bool { return nil }

func (p *pipe) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if len(b) == 0 {
		return 0, nil // an empty buffer reads as the end
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.unread != nil && p.unread.Len() > maxPipe && !p.aborted {
		p.wake.Wait()
	}
	if p.aborted {
		return 0, io.ErrClosedPipe
	}
	if p.unread == nil {
		p.unread = buffers.Get().(*bytes.Buffer)
	}
	p.unread.Write(b)
	if p.unread.Len() >= flushAt {
		p.wake.Broadcast()
	}
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.unread == nil && p.err == nil && !p.aborted {
		p.wake.Wait()
	}
	if p.unread != nil {
		n, err := p.unread.Read(b)
		if p.unread.Len() == 0 {
			if p.unread.Reset(); p.unread.Cap() <= maxKept {
				buffers.Put(p.unread)
			}
			p.unread = nil
		}
		p.wake.Broadcast() // a writer may wait for room
		return n, err
	}
	if p.err != nil {
		return 0, p.err
	}
	return 0, context.Canceled
}

// Close is the client's: the handler's context ends.
func (p *pipe) Close() error {
	p.abort()
	p.cancel()
	return nil
}

func (p *pipe) abort() {
	p.mu.Lock()
	p.aborted = true
	p.wake.Broadcast()
	p.mu.Unlock()
}

func (p *pipe) finish(err error) {
	p.mu.Lock()
	p.err = err
	p.wake.Broadcast()
	p.mu.Unlock()
}

// Authenticate says who sent a request that came through As.
func Authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	u, ok := Identity(r.Context())
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: u}, true, nil
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	// idleTimeout ends a stream over which nothing has gone, the kubelet's
	// streamingConnectionIdleTimeout.
	idleTimeout = 4 * time.Hour
	// creationTimeout is how long a client may take to open its streams.
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// streams serves exec, attach and port-forward over SPDY, and over WebSocket in
// the versions before the fifth.
func (s *Server) streams() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", s.exec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", s.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", s.attach)
	mux.HandleFunc("/attach/{namespace}/{pod}/{uid}/{container}", s.attach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", s.portForward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", s.portForward)
	return mux
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	s.command(w, r, func(id string, o *remotecommand.Options) {
		remotecommand.ServeExec(w, r, commands{s.cfg.Backend}, "", "", id, r.URL.Query()["command"],
			o, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	})
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	s.command(w, r, func(id string, o *remotecommand.Options) {
		remotecommand.ServeAttach(w, r, commands{s.cfg.Backend}, "", "", id,
			o, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	})
}

// command finds the container and the streams that a request is about.
func (s *Server) command(w http.ResponseWriter, r *http.Request, serve func(id string, o *remotecommand.Options)) {
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod, ok := s.podOf(w, r)
	if !ok {
		return
	}
	if id, ok := s.containerOf(w, r, pod); ok {
		serve(id, o)
	}
}

// commands makes a Backend what the streaming library calls.
type commands struct{ backend Backend }

// ExecInContainer runs a command; the library has put the container's ID where
// its name was.
func (c commands) ExecInContainer(ctx context.Context, _, _, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration,
) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := c.backend.Exec(ctx, id, runtime.Exec{Command: cmd, Streams: streamsOf(ctx, in, out, errOut, tty, resize)})
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("error executing command in container: exit code %d", code), Code: code}
	}
	return nil
}

// AttachContainer connects to a container's first process.
func (c commands) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.backend.Attach(ctx, id, streamsOf(ctx, in, out, errOut, tty, resize))
}

// streamsOf are the streams as the runtime wants them. Sizes are passed on until
// ctx or the library ends them.
func streamsOf(ctx context.Context, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) runtime.Streams {
	s := runtime.Streams{TTY: tty}
	// A nil pointer in an interface would not be nil to the runtime.
	if in != nil {
		s.Stdin = in
	}
	if out != nil {
		s.Stdout = out
	}
	if errOut != nil {
		s.Stderr = errOut
	}
	if resize == nil {
		return s
	}
	sizes := make(chan runtime.TerminalSize)
	s.Resize = sizes
	go func() {
		defer close(sizes)
		for {
			select {
			case <-ctx.Done():
				return
			case size, ok := <-resize:
				if !ok {
					return
				}
				select {
				case sizes <- runtime.TerminalSize{Width: size.Width, Height: size.Height}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return s
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	o, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod, ok := s.podOf(w, r)
	if !ok {
		return
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		http.Error(w, fmt.Sprintf("pod %q has ended", pod.Name), http.StatusInternalServerError)
		return
	}
	id, err := s.cfg.Backend.Sandbox(r.Context(), pod)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	portforward.ServePortForward(w, r, forwarder{s.cfg.Backend}, id, "", o, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

type forwarder struct{ backend Backend }

// PortForward copies between a client and a port until either side ends it.
func (f forwarder) PortForward(ctx context.Context, sandbox, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := f.backend.PortForward(ctx, sandbox, port)
	if err != nil {
		return err
	}
	closeConn := sync.OnceFunc(func() { conn.Close() })
	defer closeConn()
	stop := context.AfterFunc(ctx, closeConn)
	defer stop()

	go func() {
		_, err := io.Copy(conn, stream)
		// The client has said all: the pod may still answer.
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		if err != nil {
			closeConn()
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil && ctx.Err() == nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("copy from port %d: %w", port, err)
	}
	return nil
}

// run runs a command and answers with what it prints.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	pod, ok := s.podOf(w, r)
	if !ok {
		return
	}
	id, ok := s.containerOf(w, r, pod)
	if !ok {
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	cmd := r.Form["cmd"]
	if len(cmd) == 0 {
		http.Error(w, "the parameter cmd is missing", http.StatusBadRequest)
		return
	}
	out := &flushed{w: w}
	both := &serialized{w: out}
	code, err := s.cfg.Backend.Exec(r.Context(), id, runtime.Exec{Command: cmd, Streams: runtime.Streams{Stdout: both, Stderr: both}})
	switch {
	case out.begun:
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case code != 0:
		http.Error(w, fmt.Sprintf("command terminated with exit code %d", code), http.StatusInternalServerError)
	}
}

// serialized is a writer for several streams at once.
type serialized struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *serialized) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

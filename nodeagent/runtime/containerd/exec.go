//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Exec implements runtime.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	if err := r.running(id); err != nil {
		return 0, err
	}
	rec, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return 0, notFound(err)
	}
	var spec specs.Spec
	if err := typeurl.UnmarshalTo(rec.Spec, &spec); err != nil {
		return 0, fmt.Errorf("read OCI specification: %w", err)
	}
	process := spec.Process
	process.Args = e.Command
	process.Terminal = e.TTY
	if e.TTY {
		process.Env = append(process.Env, "TERM=xterm")
	}
	encoded, err := typeurl.MarshalAnyToProto(process)
	if err != nil {
		return 0, fmt.Errorf("encode process: %w", err)
	}
	execID, err := newID()
	if err != nil {
		return 0, err
	}
	if e.Stdin != nil {
		// The shim keeps stdin open until it is told.
		e.Stdin = &closingReader{Reader: e.Stdin, end: func() { r.closeIO(ctx, id, execID) }}
	}
	streams, err := r.execIO(execID, e)
	if err != nil {
		return 0, err
	}
	defer streams.Close()
	cfg := streams.Config()
	_, err = r.tasks.Exec(ctx, &tasksapi.ExecProcessRequest{
		ContainerID: id, ExecID: execID, Terminal: e.TTY, Spec: encoded, Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr,
	})
	if err != nil {
		streams.Cancel()
		return 0, fmt.Errorf("exec in container: %w", errgrpc.ToNative(err))
	}
	clean := context.WithoutCancel(ctx)
	defer func() {
		_, _ = r.tasks.DeleteProcess(clean, &tasksapi.DeleteProcessRequest{ContainerID: id, ExecID: execID}) // gone with its container
	}()
	if _, err := r.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: id, ExecID: execID}); err != nil {
		streams.Cancel()
		return 0, fmt.Errorf("exec in container: %w", errgrpc.ToNative(err))
	}
	stop := r.forwardResize(ctx, id, execID, e.Resize)
	defer stop()
	result, err := r.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id, ExecID: execID})
	if err != nil {
		// Nobody waits for it any more: it must not stay behind.
		_, kill := r.tasks.Kill(clean, &tasksapi.KillRequest{ContainerID: id, ExecID: execID, Signal: uint32(unix.SIGKILL), All: true})
		streams.Cancel()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if status.Code(err) == codes.DeadlineExceeded { // the call has a timer of its own, which may go off before that of ctx
			return 0, context.DeadlineExceeded
		}
		return 0, errors.Join(fmt.Errorf("wait for command in container: %w", errgrpc.ToNative(err)), errgrpc.ToNative(kill))
	}
	streams.Wait() // all output is with the caller
	return int(result.ExitStatus), nil
}

// closingReader calls end when the stream ends.
type closingReader struct {
	io.Reader
	once sync.Once
	end  func()
}

func (c *closingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil {
		c.once.Do(c.end)
	}
	return n, err
}

// closeIO closes a process's stdin; it may have ended already.
func (r *Runtime) closeIO(ctx context.Context, id, execID string) {
	_, _ = r.tasks.CloseIO(ctx, &tasksapi.CloseIORequest{ContainerID: id, ExecID: execID, Stdin: true})
}

func (r *Runtime) running(id string) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.State != runtime.Running {
		return fmt.Errorf("container %s is not running: it is %s", c.Name, c.State)
	}
	return nil
}

// execIO makes FIFOs for the streams that are asked for. When stdin ends, the
// process's stdin is closed.
func (r *Runtime) execIO(execID string, e runtime.Exec) (cio.IO, error) {
	stdout, stderr := e.Stdout, e.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	opts := []cio.Opt{cio.WithStreams(e.Stdin, stdout, stderr), cio.WithFIFODir(r.cfg.RunDir)}
	if e.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	streams, err := cio.NewCreator(opts...)(execID)
	if err != nil {
		return nil, fmt.Errorf("make streams for command: %w", err)
	}
	return streams, nil
}

// forwardResize sends sizes of the terminal until it is stopped.
func (r *Runtime) forwardResize(ctx context.Context, id, execID string, sizes <-chan runtime.TerminalSize) (stop func()) {
	if sizes == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s, ok := <-sizes:
				if !ok {
					return
				}
				// The process may have ended meanwhile.
				_, _ = r.tasks.ResizePty(ctx, &tasksapi.ResizePtyRequest{ContainerID: id, ExecID: execID, Width: uint32(s.Width), Height: uint32(s.Height)})
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// Attach implements runtime.Runtime: output from now on, as it is copied to
// the log, and stdin through the container's FIFO.
func (r *Runtime) Attach(ctx context.Context, id string, s runtime.Streams) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	o := r.logs.get(id)
	if o == nil {
		return fmt.Errorf("container %s is not running", c.Name)
	}
	t := &tap{stdout: s.Stdout, stderr: s.Stderr}
	o.attach(t)
	defer o.detach(t)
	stop := r.forwardResize(ctx, id, "", s.Resize)
	defer stop()
	left := make(chan struct{})
	if s.Stdin != nil && o.stdin != "" {
		in, err := o.openStdin()
		if err != nil {
			return err
		}
		// Ends with the caller's stream: the caller closes it on return.
		go func() {
			_, err := io.Copy(in, s.Stdin)
			switch {
			case !c.stdinOnce || c.tty:
				close(left) // who has no more to say leaves, and the container goes on
			case err == nil:
				o.closeStdin()
				r.closeIO(ctx, id, "")
			}
		}()
	}
	select {
	case <-o.ended:
		return nil
	case <-left:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openStdin opens the container's stdin. The shim has it open as well, so that
// it outlives whoever is attached, and this agent.
func (o *output) openStdin() (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.input == nil {
		// Both ways, so that opening does not wait for the shim.
		f, err := os.OpenFile(o.stdin, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("open stdin of container: %w", err)
		}
		o.input = f
	}
	return o.input, nil
}

func (o *output) closeStdin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.input != nil {
		o.input.Close()
		o.input = nil
	}
}

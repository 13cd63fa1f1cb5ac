//go:build linux

package containerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	apitypes "github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/sys/signal"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// exitStartFailed is the exit code of a container that could not be started,
// as CRI implementations report it.
const exitStartFailed = 128

// Create implements runtime.Runtime: a record in containerd, a writable layer,
// and a task that stands before its first instruction. A container that runc
// refuses is created all the same; Start gives the reason, so that it can be
// seen in the pod's status.
func (r *Runtime) Create(ctx context.Context, spec runtime.ContainerSpec) (_ string, err error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	sandbox, err := r.record(spec.SandboxID)
	if err != nil {
		return "", err
	}
	image, imageID, err := r.imageDetails(ctx, spec.Image)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", spec.Name, err)
	}
	id, err := newID()
	if err != nil {
		return "", err
	}
	mounted, err := r.mountImages(ctx, &spec)
	if err != nil {
		return "", fmt.Errorf("%w: %w", runtime.ErrImageMount, err)
	}
	oci, err := r.spec(ctx, id, &spec, sandbox, image)
	if err != nil {
		return "", err
	}
	if spec.OOMScoreAdj < 0 && oci.Process.OOMScoreAdj == nil {
		r.oomAdj.Do(func() {
			klog.FromContext(ctx).Info("Without CAP_SYS_RESOURCE containers can't be protected from the kernel's memory killer")
		})
	}
	c := &container{
		Container: runtime.Container{
			ID: id, SandboxID: spec.SandboxID, PodUID: sandbox.UID, Name: spec.Name, Attempt: spec.Attempt, Kind: spec.Kind,
			Hash: spec.Hash, Image: spec.Image, ImageID: imageID, Mounted: mounted, LogPath: spec.LogPath, State: runtime.Created, CreatedAt: time.Now().UTC(),
			Resources: spec.Resources,
		},
		stdin: spec.Stdin, stdinOnce: spec.StdinOnce, tty: spec.TTY, done: make(chan struct{}),
	}
	if err := r.createRecord(ctx, c, sandbox, image, oci); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.removeRecord(context.WithoutCancel(ctx), spec.SandboxID, id))
		}
	}()
	// The record names the layer, so that the layer is never collected.
	mounts, err := r.client.SnapshotService(snapshotter).Prepare(ctx, id, image.chainID)
	if err != nil {
		return "", fmt.Errorf("create container %s: writable layer: %w", spec.Name, err)
	}
	output, err := r.logs.open(r.ioDir(id), c)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", spec.Name, err)
	}
	r.mu.Lock()
	r.containers[id] = c
	r.mu.Unlock()
	c.createError = r.createTask(ctx, c, output, mounts)
	if c.createError != nil && ctx.Err() != nil {
		r.forget(c)
		return "", ctx.Err()
	}
	r.mu.Lock()
	c.hasTask = c.createError == nil
	r.mu.Unlock()
	return id, nil
}

func newID() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make container ID: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// spec gathers what planSpec needs.
func (r *Runtime) spec(ctx context.Context, id string, c *runtime.ContainerSpec, sandbox *sandboxRecord, image *imageDetails) (*specs.Spec, error) {
	in := specInput{
		id: id, container: c, sandbox: sandbox, sandboxDir: r.sandboxDir(sandbox.ID), image: image.config,
		caps: r.caps, unified: r.cgroup.unified,
	}
	accounts, err := r.accounts(ctx, image)
	if err != nil {
		return nil, err
	}
	if in.user, err = planUser(image.config.User, c.Security, c.PodSecurity, accounts); err != nil {
		return nil, err
	}
	if in.seccomp, err = loadSeccomp(r.cfg.SeccompDir, c.Security); err != nil {
		return nil, err
	}
	if c.Security != nil && ptr.Deref(c.Security.Privileged, false) {
		if in.devices, err = oci.HostDevices(); err != nil {
			return nil, fmt.Errorf("list the node's devices: %w", err)
		}
	}
	switch {
	case sandbox.HostPID:
	case sandbox.ShareProcessNamespace:
		in.sharedPID = r.oldestPID(sandbox.ID)
	case c.Target != "":
		if in.sharedPID, err = r.targetPID(sandbox.ID, c.Target); err != nil {
			return nil, err
		}
	}
	return planSpec(in)
}

// targetPID is the first process of a running container of the sandbox.
func (r *Runtime) targetPID(sandboxID, id string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil || c.SandboxID != sandboxID {
		return 0, fmt.Errorf("target container %s: %w", id, runtime.ErrNotFound)
	}
	if c.State != runtime.Running || c.PID == 0 {
		return 0, fmt.Errorf("target container %q is not running - in state %s", id, c.State)
	}
	return c.PID, nil
}

// oldestPID is the first process of the sandbox's oldest running container: it
// owns the shared PID namespace.
func (r *Runtime) oldestPID(sandboxID string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var oldest *container
	for _, c := range r.containers {
		if c.SandboxID == sandboxID && c.PID != 0 && (c.State == runtime.Running || c.State == runtime.Created) &&
			(oldest == nil || c.CreatedAt.Before(oldest.CreatedAt)) {
			oldest = c
		}
	}
	if oldest == nil {
		return 0
	}
	return oldest.PID
}

func (r *Runtime) createRecord(ctx context.Context, c *container, sandbox *sandboxRecord, image *imageDetails, spec *specs.Spec) error {
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("encode OCI specification: %w", err)
	}
	options, err := typeurl.MarshalAny(&runcoptions.Options{BinaryName: r.cfg.RuncBinary, Root: r.cfg.RuncRoot})
	if err != nil {
		return fmt.Errorf("encode runc options: %w", err)
	}
	labels := toLabels(&c.Container, types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name}, c.stdin, c.stdinOnce, c.tty)
	labels[labelStopSignal] = image.config.StopSignal
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID: c.ID, Labels: labels, Image: c.Image, Runtime: containers.RuntimeInfo{Name: shimName, Options: options},
		Spec: encoded, Snapshotter: snapshotter, SnapshotKey: c.ID,
	})
	if err != nil {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	return nil
}

func (r *Runtime) createTask(ctx context.Context, c *container, output outputs, mounts []mount.Mount) error {
	req := &tasksapi.CreateTaskRequest{ContainerID: c.ID, Terminal: c.tty, Stdin: output.stdin, Stdout: output.stdout, Stderr: output.stderr}
	for _, m := range mounts {
		req.Rootfs = append(req.Rootfs, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	options, err := typeurl.MarshalAnyToProto(&runcoptions.Options{BinaryName: r.cfg.RuncBinary, Root: r.cfg.RuncRoot})
	if err != nil {
		return fmt.Errorf("encode runc options: %w", err)
	}
	req.Options = options
	r.shims.LockKey(c.SandboxID)
	defer r.unlockShim(c.SandboxID)
	resp, err := r.tasks.Create(ctx, req)
	if err != nil {
		return fmt.Errorf("failed to create containerd task: %w", errgrpc.ToNative(err))
	}
	r.mu.Lock()
	c.PID, c.witness = int(resp.Pid), observe(int(resp.Pid))
	r.mu.Unlock()
	return nil
}

func (r *Runtime) startTask(ctx context.Context, c *container) error {
	r.shims.LockKey(c.SandboxID)
	defer r.unlockShim(c.SandboxID)
	if _, err := r.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: c.ID}); err != nil {
		return fmt.Errorf("failed to start containerd task: %w", errgrpc.ToNative(err))
	}
	return nil
}

// deleteTask deletes a container's task. That there is none is no error.
func (r *Runtime) deleteTask(ctx context.Context, sandboxID, id string) error {
	r.shims.LockKey(sandboxID)
	defer r.unlockShim(sandboxID)
	_, err := r.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", err)
	}
	return nil
}

// unlockShim never fails: a hashed KeyMutex has every key.
func (r *Runtime) unlockShim(sandboxID string) { _ = r.shims.UnlockKey(sandboxID) }

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	err = c.createError
	if err == nil {
		err = r.startTask(ctx, c)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.recordExit(ctx, c, exit{code: exitStartFailed, at: time.Now(), message: err.Error()})
		}
		return err
	}
	r.mu.Lock()
	if c.State == runtime.Created {
		c.State = runtime.Running
	}
	if c.StartedAt.IsZero() {
		c.StartedAt = time.Now().UTC()
	}
	r.mu.Unlock()
	err = r.saveState(c)
	r.notify(id)
	return err
}

// Signal implements runtime.Runtime.
func (r *Runtime) Signal(ctx context.Context, id, name string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	if _, err := r.get(id); err != nil {
		return err
	}
	if name == "" {
		rec, err := r.client.ContainerService().Get(ctx, id)
		if err != nil {
			return notFound(err)
		}
		name = rec.Labels[labelStopSignal]
	}
	sig := unix.SIGTERM
	if name != "" {
		parsed, err := signal.ParseSignal(name)
		if err != nil {
			return fmt.Errorf("signal container: %w", err)
		}
		sig = parsed
	}
	_, err := r.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: uint32(sig)})
	if err = errgrpc.ToNative(err); err != nil && !gone(err) {
		return fmt.Errorf("signal container: %w", err)
	}
	return nil
}

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	_, err = r.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: uint32(unix.SIGKILL), All: true})
	if err = errgrpc.ToNative(err); err != nil && !gone(err) {
		return fmt.Errorf("kill container: %w", err)
	}
	if err != nil {
		// The task is gone or was never there. If its end was lost, record it.
		r.recordExit(ctx, c, exit{code: exitUnknown, at: time.Now()})
	}
	r.mu.Lock()
	created := c.State == runtime.Created
	r.mu.Unlock()
	if created {
		// runc's init before its start gives no exit event in all versions.
		r.recordExit(ctx, c, exit{code: exitKilled, signal: int(unix.SIGKILL), at: time.Now()})
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of container %s: %w", c.Name, ctx.Err())
	}
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	state := c.State
	r.mu.Unlock()
	if state == runtime.Running {
		return fmt.Errorf("remove container %s: it is running", c.Name)
	}
	if state == runtime.Created {
		if err := r.Kill(ctx, id); err != nil {
			return err
		}
	}
	if err := r.removeRecord(ctx, c.SandboxID, id); err != nil {
		return err
	}
	r.forget(c)
	return nil
}

func (r *Runtime) forget(c *container) {
	r.mu.Lock()
	delete(r.containers, c.ID)
	c.closeDone()
	c.closeWitness()
	r.mu.Unlock()
	r.logs.forget(c.ID)
}

// removeRecord removes all that Create makes; what is not there is no error.
func (r *Runtime) removeRecord(ctx context.Context, sandboxID, id string) error {
	var errs []error
	if err := r.deleteTask(ctx, sandboxID, id); err != nil {
		errs = append(errs, err)
	}
	if err := r.client.SnapshotService(snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("remove writable layer: %w", err))
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("remove container: %w", err))
	}
	errs = append(errs, os.RemoveAll(r.ioDir(id)))
	if err := os.Remove(r.statePath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// gone says that a task is not there any more, or that its shim went while it
// was asked: its last container has ended.
func gone(err error) bool {
	return errdefs.IsNotFound(err) || strings.Contains(err.Error(), ttrpc.ErrClosed.Error())
}

func notFound(err error) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", runtime.ErrNotFound, err)
	}
	return err
}

// snapshotUsage gives bytes and inodes of a container's writable layer.
func (r *Runtime) snapshotUsage(ctx context.Context, id string) (snapshots.Usage, error) {
	return r.client.SnapshotService(snapshotter).Usage(ctx, id)
}

package simulated

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Annotations that make containers end.
const (
	RunForAnnotation   = "simulated.skiff.dev/run-for"
	ExitCodeAnnotation = "simulated.skiff.dev/exit-code"
)

const exitKilled = 137

// Runtime is a runtime.Runtime in memory.
type Runtime struct {
	clock clock.WithDelayedExecution

	mu         sync.Mutex
	sandboxes  map[string]runtime.Sandbox
	containers map[string]*container
	byPod      map[string][]*container // by sandbox
	images     map[string]runtime.Image
	watchers   map[*func(string)]struct{}
}

type container struct {
	runtime.Container
	spec  runtime.ContainerSpec
	timer clock.Timer
	done  chan struct{}
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes an empty runtime; a nil clock is the real one.
func New(clk clock.WithDelayedExecution) *Runtime {
	if clk == nil {
		clk = clock.RealClock{}
	}
	return &Runtime{
		clock: clk, sandboxes: map[string]runtime.Sandbox{}, containers: map[string]*container{}, byPod: map[string][]*container{},
		images: map[string]runtime.Image{}, watchers: map[*func(string)]struct{}{},
	}
}

// Info implements runtime.Runtime.
func (r *Runtime) Info(context.Context) (runtime.Info, error) {
	return runtime.Info{Name: "simulated", Version: "1.0.0"}, nil
}

// EnsureSandbox implements runtime.Runtime.
func (r *Runtime) EnsureSandbox(_ context.Context, s runtime.SandboxSpec) (runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.sandboxes[s.ID]; ok {
		return old, nil
	}
	made := runtime.Sandbox{ID: s.ID, Namespace: s.Namespace, Name: s.Name, UID: s.UID, CreatedAt: r.clock.Now(), Resources: s.Resources}
	r.sandboxes[s.ID] = made
	return made, nil
}

// UpdateSandbox implements runtime.Runtime.
func (r *Runtime) UpdateSandbox(_ context.Context, id string, res runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return fmt.Errorf("sandbox %q: %w", id, runtime.ErrNotFound)
	}
	s.Resources = res
	r.sandboxes[id] = s
	return nil
}

// RemoveSandbox implements runtime.Runtime.
func (r *Runtime) RemoveSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	return nil
}

// Create implements runtime.Runtime.
func (r *Runtime) Create(_ context.Context, spec runtime.ContainerSpec) (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make container ID: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sandbox, ok := r.sandboxes[spec.SandboxID]
	if !ok {
		return "", fmt.Errorf("sandbox %q: %w", spec.SandboxID, runtime.ErrNotFound)
	}
	img, err := r.find(spec.Image)
	if err != nil {
		return "", err
	}
	var mounted []string
	for _, m := range spec.Mounts {
		if m.Image != "" {
			img, err := r.find(m.Image)
			if err != nil {
				return "", fmt.Errorf("%w: %w", runtime.ErrImageMount, err)
			}
			mounted = append(mounted, img.ID)
		}
	}
	slices.Sort(mounted)
	mounted = slices.Compact(mounted)
	c := &container{spec: spec, done: make(chan struct{}), Container: runtime.Container{
		ID: hex.EncodeToString(b), SandboxID: spec.SandboxID, PodUID: sandbox.UID, Name: spec.Name, Attempt: spec.Attempt, Kind: spec.Kind,
		Hash: spec.Hash, Image: spec.Image, ImageID: img.RepoDigests[0], Mounted: mounted, State: runtime.Created, CreatedAt: r.clock.Now(), LogPath: spec.LogPath,
		Resources: spec.Resources,
	}}
	r.containers[c.ID] = c
	r.byPod[spec.SandboxID] = append(r.byPod[spec.SandboxID], c)
	return c.ID, nil
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(_ context.Context, id string) error {
	r.mu.Lock()
	c, err := r.get(id)
	if err != nil {
		r.mu.Unlock()
		return err
	}
	c.State, c.StartedAt = runtime.Running, r.clock.Now()
	runFor, code, ends := lifetime(&c.spec)
	if ends && runFor == 0 {
		r.end(c, code)
	} else if ends {
		c.timer = r.clock.AfterFunc(runFor, func() { r.exit(id, code) })
	}
	r.mu.Unlock()
	r.notify(id)
	return nil
}

// lifetime says whether and how a container ends by itself.
func lifetime(spec *runtime.ContainerSpec) (time.Duration, int, bool) {
	if spec.Completes {
		return 0, 0, true
	}
	runFor, err := time.ParseDuration(spec.Annotations[RunForAnnotation])
	if err != nil {
		return 0, 0, false
	}
	code, err := strconv.Atoi(spec.Annotations[ExitCodeAnnotation])
	if err != nil {
		code = 0
	}
	return runFor, code, true
}

func (r *Runtime) exit(id string, code int) {
	r.mu.Lock()
	c, err := r.get(id)
	if err == nil && c.State == runtime.Running {
		r.end(c, code)
	}
	r.mu.Unlock()
	if err == nil {
		r.notify(id)
	}
}

// end settles a container; r.mu is held.
func (r *Runtime) end(c *container, code int) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.State, c.ExitCode, c.FinishedAt = runtime.Exited, code, r.clock.Now()
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// Update implements runtime.Runtime.
func (r *Runtime) Update(_ context.Context, id string, res runtime.Resources) error {
	c, err := r.running(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Resources = res
	return nil
}

// Signal implements runtime.Runtime: every signal ends a container well.
func (r *Runtime) Signal(_ context.Context, id, _ string) error {
	r.mu.Lock()
	_, err := r.get(id)
	r.mu.Unlock()
	if err == nil {
		r.exit(id, 0)
	}
	return err
}

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(_ context.Context, id string) error {
	r.mu.Lock()
	c, err := r.get(id)
	if err == nil && c.State != runtime.Exited {
		r.end(c, exitKilled)
	}
	r.mu.Unlock()
	if err == nil {
		r.notify(id)
	}
	return err
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(id)
	if err != nil {
		return err
	}
	if c.State == runtime.Running {
		return fmt.Errorf("remove container %s: it is running", c.Name)
	}
	if c.State == runtime.Created {
		r.end(c, exitKilled)
	}
	delete(r.containers, id)
	rest := slices.DeleteFunc(r.byPod[c.SandboxID], func(o *container) bool { return o == c })
	if len(rest) == 0 {
		delete(r.byPod, c.SandboxID)
	} else {
		r.byPod[c.SandboxID] = rest
	}
	return nil
}

// List implements runtime.Runtime.
func (r *Runtime) List(context.Context) ([]runtime.Sandbox, []runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sandboxes := make([]runtime.Sandbox, 0, len(r.sandboxes))
	for _, s := range r.sandboxes {
		sandboxes = append(sandboxes, s)
	}
	containers := make([]runtime.Container, 0, len(r.containers))
	for _, c := range r.containers {
		containers = append(containers, c.Container)
	}
	return sandboxes, containers, nil
}

// Pod implements runtime.Runtime.
func (r *Runtime) Pod(_ context.Context, sandboxID string) (*runtime.Sandbox, []runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sandbox *runtime.Sandbox
	if s, ok := r.sandboxes[sandboxID]; ok {
		sandbox = &s
	}
	var containers []runtime.Container
	for _, c := range r.byPod[sandboxID] {
		containers = append(containers, c.Container)
	}
	return sandbox, containers, nil
}

// Watch implements runtime.Runtime.
func (r *Runtime) Watch(ctx context.Context, f func(containerID string)) error {
	r.mu.Lock()
	r.watchers[&f] = struct{}{}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	delete(r.watchers, &f)
	r.mu.Unlock()
	return ctx.Err()
}

func (r *Runtime) notify(id string) {
	r.mu.Lock()
	watchers := make([]func(string), 0, len(r.watchers))
	for f := range r.watchers {
		watchers = append(watchers, *f)
	}
	r.mu.Unlock()
	for _, f := range watchers {
		f(id)
	}
}

// get finds a container; r.mu is held.
func (r *Runtime) get(id string) (*container, error) {
	c, ok := r.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

func (r *Runtime) running(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(id)
	if err != nil {
		return nil, err
	}
	if c.State != runtime.Running {
		return nil, fmt.Errorf("container %s is not running: it is %s", c.Name, c.State)
	}
	return c, nil
}

// Exec implements runtime.Runtime: every command succeeds and says that it was
// not executed.
func (r *Runtime) Exec(_ context.Context, id string, e runtime.Exec) (int, error) {
	c, err := r.running(id)
	if err != nil {
		return 0, err
	}
	if e.Stdout != nil {
		if _, err := fmt.Fprintf(e.Stdout, "simulated: container %s did not execute %q\n", c.Name, e.Command); err != nil {
			return 0, fmt.Errorf("write output of command: %w", err)
		}
	}
	return 0, nil
}

// Attach implements runtime.Runtime: there is no output.
func (r *Runtime) Attach(ctx context.Context, id string, _ runtime.Streams) error {
	c, err := r.running(id)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PortForward implements runtime.Runtime: nothing listens in a simulated pod.
func (r *Runtime) PortForward(_ context.Context, sandboxID string, port int32) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[sandboxID]; !ok {
		return nil, fmt.Errorf("sandbox %q: %w", sandboxID, runtime.ErrNotFound)
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("port %d of a simulated pod: connection refused", port)}
}

// Stats implements runtime.Runtime: what the container asked for, in memory.
func (r *Runtime) Stats(_ context.Context, id string) (runtime.Stats, error) {
	c, err := r.running(id)
	if err != nil {
		return runtime.Stats{}, err
	}
	r.mu.Lock()
	memory := uint64(max(c.Resources.MemoryRequest, 1<<20))
	r.mu.Unlock()
	return runtime.Stats{Time: r.clock.Now(), MemoryUsage: memory, MemoryWorkingSet: memory, MemoryRSS: memory, Pids: 1}, nil
}

// Log gives what a container has printed: when it started and ended.
func (r *Runtime) Log(id string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(id)
	if err != nil {
		return "", err
	}
	out := ""
	line := func(t time.Time, text string) { out += t.UTC().Format(time.RFC3339Nano) + " stdout F " + text + "\n" }
	if !c.StartedAt.IsZero() {
		line(c.StartedAt, fmt.Sprintf("simulated: container %s of image %s started", c.Name, c.Image))
	}
	if c.State == runtime.Exited {
		line(c.FinishedAt, fmt.Sprintf("simulated: container %s ended with code %d", c.Name, c.ExitCode))
	}
	return out, nil
}

// normalize gives an image's full name.
func normalize(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("couldn't parse image name %q: %w", ref, err)
	}
	return named, nil
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// find looks an image up by name, digest or ID; r.mu is held.
func (r *Runtime) find(ref string) (runtime.Image, error) {
	for _, img := range r.images {
		if img.ID == ref {
			return img, nil
		}
	}
	named, err := normalize(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	if img, ok := r.images[named.String()]; ok {
		return img, nil
	}
	return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
}

func (r *Runtime) add(named reference.Named, user string, size int64) runtime.Image {
	img := runtime.Image{ID: digestOf("config " + named.String()), Size: size, User: user}
	manifest := digestOf("manifest " + named.String())
	if d, ok := named.(reference.Digested); ok {
		manifest = d.Digest().String()
	}
	if _, ok := named.(reference.Tagged); ok {
		img.RepoTags = []string{named.String()}
	}
	img.RepoDigests = []string{reference.TrimNamed(named).Name() + "@" + manifest}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[named.String()] = img
	return img
}

// pulledUser is who a pulled image runs as, of which nothing is known but its
// name: the user of images that run where root may not.
const pulledUser = "65532"

// PullImage implements runtime.Runtime: every image exists.
func (r *Runtime) PullImage(_ context.Context, ref string, _ []runtime.Credentials) (runtime.Image, error) {
	named, err := normalize(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return r.add(named, pulledUser, 1<<20), nil
}

// ImageByRef implements runtime.Runtime.
func (r *Runtime) ImageByRef(_ context.Context, ref string) (runtime.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(ref)
}

// ListImages implements runtime.Runtime.
func (r *Runtime) ListImages(context.Context) ([]runtime.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]runtime.Image, 0, len(r.images))
	for _, img := range r.images {
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b runtime.Image) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// RemoveImage implements runtime.Runtime.
func (r *Runtime) RemoveImage(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, img := range r.images {
		if img.ID == id || name == id {
			delete(r.images, name)
		}
	}
	return nil
}

// ImportImages implements runtime.Runtime: it reads names and users, no layers.
func (r *Runtime) ImportImages(_ context.Context, archive io.Reader) ([]string, error) {
	files := map[string][]byte{}
	var size int64
	for in := tar.NewReader(archive); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("import images: %w", err)
		}
		size += h.Size
		if h.Size > 1<<20 {
			continue // a layer
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("import images: %w", err)
		}
		files[path.Clean(h.Name)] = data
	}
	names, config, err := namesIn(files)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	var out []string
	for _, name := range names {
		named, err := normalize(name)
		if err != nil {
			return nil, err
		}
		r.add(named, config, size)
		out = append(out, named.String())
	}
	if len(out) == 0 {
		return nil, errors.New("import images: the archive names no image")
	}
	return out, nil
}

// namesIn reads the names of an archive as docker save or an OCI layout has
// them, and the user of the first image.
func namesIn(files map[string][]byte) (names []string, user string, err error) {
	var manifests []struct {
		Config   string
		RepoTags []string
	}
	if data, ok := files["manifest.json"]; ok {
		if err := json.Unmarshal(data, &manifests); err != nil {
			return nil, "", err
		}
	}
	for _, m := range manifests {
		names = append(names, m.RepoTags...)
		var config struct {
			Config struct{ User string } `json:"config"`
		}
		if err := json.Unmarshal(files[path.Clean(m.Config)], &config); err == nil && user == "" {
			user = config.Config.User
		}
	}
	if len(names) > 0 {
		return names, user, nil
	}
	var index struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if data, ok := files["index.json"]; ok {
		if err := json.Unmarshal(data, &index); err != nil {
			return nil, "", err
		}
	}
	for _, m := range index.Manifests {
		for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
			if name := m.Annotations[key]; name != "" {
				names = append(names, name)
				break
			}
		}
	}
	return names, user, nil
}

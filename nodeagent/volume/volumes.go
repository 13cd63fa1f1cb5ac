package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/volume/podcertificate"
)

// Objects is where ConfigMaps and Secrets come from; volume/objects.Cache is
// one.
type Objects interface {
	environment.Objects
	Register(pod *corev1.Pod)
	Unregister(uid types.UID)
	// Changed is readable when TakeChanged has pods that name what has changed.
	Changed() <-chan struct{}
	TakeChanged() []types.UID
}

// Config of [Volumes].
type Config struct {
	// DataDir is the agent's; pods are below DataDir/pods.
	DataDir string
	// REST reaches the API for tokens, trust bundles and claims.
	REST *rest.Config
	// Client takes the place of REST, if it is there already.
	Client kubernetes.Interface
	// Objects are read, registered and watched for changes by Volumes.
	Objects Objects
	// Input gives the addresses of a pod and what is allocatable on the node,
	// for the downward API; Container is ignored. Called at each update. Nil
	// where none are known.
	Input func(pod *corev1.Pod) environment.Input
	// Node gives the agent's Node, nil as long as it is not known, for pods'
	// certificates; nil where there are none.
	Node func() *corev1.Node
	// Event records a Warning of a pod; may be nil.
	Event func(pod *corev1.Pod, reason, message string)
	// Failed is told of volumes whose files could not be updated while the pod
	// runs; may be nil.
	Failed func(pod *corev1.Pod, f *FailedMount)
	// Changed is told of pods that name a ConfigMap or Secret that has changed,
	// after their files are: what failed for want of it may be tried again. May
	// be nil.
	Changed func(uid types.UID)
	// Unprivileged keeps memory-backed volumes on disk and leaves owners as they
	// are, for an agent that is not root.
	Unprivileged bool
	// Clock is the real one if nil.
	Clock clock.WithTicker
}

// Volumes are the volumes of one node's pods.
type Volumes struct {
	cfg    Config
	client kubernetes.Interface
	tokens *tokens
	// certificates are nil without a Node.
	certificates *podcertificate.Issuer

	mu   sync.Mutex
	pods map[types.UID]*podVolumes
	due  map[types.UID]time.Time // when to look at a pod again

	// wake tells Run that something may be due sooner.
	wake chan struct{}
}

// podVolumes is what is known of one pod. Its lock is held while its files
// change.
type podVolumes struct {
	mu  sync.Mutex
	pod *corev1.Pod
	// ready are the volumes whose content Run keeps up to date.
	ready map[string]bool
	gone  bool
}

// New makes Volumes; nothing is read or written before Prepare and Run.
func New(cfg Config) (*Volumes, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("volume: Config.DataDir is not set")
	}
	if cfg.Objects == nil {
		return nil, errors.New("volume: Config.Objects is not set")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	client := cfg.Client
	if client == nil && cfg.REST != nil {
		var err error
		if client, err = kubernetes.NewForConfig(cfg.REST); err != nil {
			return nil, fmt.Errorf("make a client: %w", err)
		}
	}
	v := &Volumes{
		cfg:    cfg,
		client: client,
		tokens: newTokens(client, cfg.Clock),
		pods:   map[types.UID]*podVolumes{},
		due:    map[types.UID]time.Time{},
		wake:   make(chan struct{}, 1),
	}
	if cfg.Node != nil && client != nil {
		v.certificates = podcertificate.New(podcertificate.Config{
			Client: client, Node: cfg.Node, Event: v.event, Changed: v.certified, Clock: cfg.Clock,
		})
	}
	return v, nil
}

// FailedMount is a volume that could not be prepared.
type FailedMount struct {
	Volume  string
	Message string // of the event with reason FailedMount
	Err     error
}

func (e *FailedMount) Error() string { return e.Message }
func (e *FailedMount) Unwrap() error { return e.Err }

// Failures takes the FailedMounts out of an error of Prepare.
func Failures(err error) []*FailedMount {
	var failures []*FailedMount
	if one, ok := err.(*FailedMount); ok { //nolint:errorlint // errors.As would find only the first of a join.
		return append(failures, one)
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			failures = append(failures, Failures(e)...)
		}
	}
	return failures
}

// Prepare makes all volumes of a pod ready to be mounted. It can be called
// again at any time: after an error, after a restart of the agent, or with a
// changed pod. The error joins a *[FailedMount] for each volume that failed,
// with the kubelet's message; see [Failures]. Volumes that no container mounts
// are left alone.
func (v *Volumes) Prepare(ctx context.Context, pod *corev1.Pod) error {
	p := v.state(pod.UID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return fmt.Errorf("prepare the volumes of pod %s/%s: it is being torn down", pod.Namespace, pod.Name)
	}
	p.pod = pod
	v.cfg.Objects.Register(pod)

	used := usedVolumes(pod)
	var (
		wg     sync.WaitGroup
		failed = make([]error, len(pod.Spec.Volumes))
	)
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if !used[volume.Name] {
			continue
		}
		// Together they wait for the API server once, not once each.
		wg.Go(func() { failed[i] = v.prepare(ctx, pod, volume) })
	}
	wg.Wait()
	for i := range pod.Spec.Volumes {
		if volume := &pod.Spec.Volumes[i]; used[volume.Name] && failed[i] == nil && isContent(volume) {
			p.ready[volume.Name] = true
		}
	}
	v.plan(pod.UID, v.next(pod))
	return errors.Join(failed...)
}

// prepare makes one volume ready.
func (v *Volumes) prepare(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	var err error
	switch {
	case isContent(volume):
		err = v.prepareContent(ctx, pod, volume)
	case volume.EmptyDir != nil:
		err = v.prepareEmptyDir(pod, volume)
	case volume.HostPath != nil:
		err = checkHostPath(volume.HostPath.Path, volume.HostPath.Type)
	case volume.PersistentVolumeClaim != nil:
		return v.prepareClaim(ctx, pod, volume)
	case volume.Image != nil:
		return nil // pulled and mounted with each container
	default:
		err = errors.New("no volume plugin matched")
	}
	return setUpFailed(volume.Name, err)
}

// setUpFailed is the kubelet's message.
func setUpFailed(name string, err error) error {
	if err == nil {
		return nil
	}
	return &FailedMount{
		Volume:  name,
		Message: fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", name, err),
		Err:     err,
	}
}

// state gives what is known of a pod, and begins it.
func (v *Volumes) state(uid types.UID) *podVolumes {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.pods[uid]
	if p == nil {
		p = &podVolumes{ready: map[string]bool{}}
		v.pods[uid] = p
	}
	return p
}

// known gives what is known of a pod, nil if nothing is.
func (v *Volumes) known(uid types.UID) *podVolumes {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pods[uid]
}

// Path is the directory or file of a pod's volume on the node.
func (v *Volumes) Path(ctx context.Context, pod *corev1.Pod, name string) (string, error) {
	i := slices.IndexFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == name })
	if i < 0 {
		return "", fmt.Errorf("pod %s/%s has no volume %q", pod.Namespace, pod.Name, name)
	}
	volume := &pod.Spec.Volumes[i]
	switch {
	case volume.HostPath != nil:
		return volume.HostPath.Path, nil
	case volume.PersistentVolumeClaim != nil:
		source, err := v.claimed(ctx, pod, volume.PersistentVolumeClaim)
		if err != nil {
			return "", err
		}
		return source.path, nil
	}
	return v.dir(pod.UID, volume)
}

// Pods gives the pods that have a directory, for those that are gone to be torn
// down after a restart.
func (v *Volumes) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(v.cfg.DataDir, "pods"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the directories of pods: %w", err)
	}
	var uids []types.UID
	for _, e := range entries {
		if e.IsDir() {
			uids = append(uids, types.UID(e.Name()))
		}
	}
	return uids, nil
}

// PodDir is the directory of a pod, where others may keep files, such as
// etc-hosts and containers/<name>/<attempt>, which Teardown removes too.
func (v *Volumes) PodDir(uid types.UID) string {
	return filepath.Join(v.cfg.DataDir, "pods", string(uid))
}

// dir is where a volume that the agent makes is.
func (v *Volumes) dir(uid types.UID, volume *corev1.Volume) (string, error) {
	plugin := ""
	switch {
	case volume.EmptyDir != nil:
		plugin = "empty-dir"
	case volume.ConfigMap != nil:
		plugin = "configmap"
	case volume.Secret != nil:
		plugin = "secret"
	case volume.DownwardAPI != nil:
		plugin = "downward-api"
	case volume.Projected != nil:
		plugin = "projected"
	default:
		return "", errors.New("no volume plugin matched")
	}
	return filepath.Join(v.PodDir(uid), "volumes", "kubernetes.io~"+plugin, volume.Name), nil
}

// isContent tells volumes whose files come from the API.
func isContent(volume *corev1.Volume) bool {
	return volume.ConfigMap != nil || volume.Secret != nil || volume.DownwardAPI != nil || volume.Projected != nil
}

// usedVolumes gives the volumes that a container of the pod mounts or reads
// variables from.
func usedVolumes(pod *corev1.Pod) map[string]bool {
	used := map[string]bool{}
	add := func(c *corev1.Container) {
		for _, m := range c.VolumeMounts {
			used[m.Name] = true
		}
		for _, d := range c.VolumeDevices {
			used[d.Name] = true
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil {
				used[e.ValueFrom.FileKeyRef.VolumeName] = true
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		add(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		add((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return used
}

// fsGroup of the pod, nil without one.
func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

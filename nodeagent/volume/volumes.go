package volume

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

var errNotYet = errors.New("not yet written")

// Objects is where ConfigMaps and Secrets come from; volume/objects.Cache is
// one.
type Objects interface {
	environment.Objects
	Register(pod *corev1.Pod)
	Unregister(uid types.UID)
	Changed() <-chan types.UID
}

// Config of [Volumes].
type Config struct {
	// DataDir is the agent's; pods are below DataDir/pods.
	DataDir string
	// REST reaches the API for tokens and claims.
	REST *rest.Config
	// Client takes the place of REST, if it is there already.
	Client kubernetes.Interface
	// Objects are read, registered and watched for changes by Volumes.
	Objects Objects
	// Input gives the addresses of a pod and what is allocatable on the node,
	// for the downward API; Container is ignored. Called at each update.
	Input func(pod *corev1.Pod) environment.Input
	// Unprivileged keeps memory-backed volumes on disk, for an agent that may
	// not mount.
	Unprivileged bool
	// Clock is the real one if nil.
	Clock clock.WithTicker
}

// Volumes are the volumes of one node's pods.
type Volumes struct{}

// New makes Volumes; nothing is read or written before Prepare and Run.
func New(cfg Config) (*Volumes, error) { return nil, errNotYet }

// Run brings changes of ConfigMaps, Secrets, pods and tokens into the files of
// prepared pods until ctx ends.
func (v *Volumes) Run(ctx context.Context) error { return errNotYet }

// FailedMount is a volume that could not be prepared.
type FailedMount struct {
	Volume  string
	Message string // of the event with reason FailedMount
	Err     error
}

func (e *FailedMount) Error() string { return e.Message }
func (e *FailedMount) Unwrap() error { return e.Err }

// Prepare makes all volumes of a pod ready to be mounted. It can be called
// again at any time: after an error, after a restart of the agent, or with a
// changed pod. The error joins a *[FailedMount] for each volume that failed,
// with the kubelet's message; see [Failures].
func (v *Volumes) Prepare(ctx context.Context, pod *corev1.Pod) error { return errNotYet }

// Failures takes the FailedMounts out of an error of Prepare.
func Failures(err error) []*FailedMount { return nil }

// Update takes note of a pod's new labels and annotations or addresses, for
// its downward API files.
func (v *Volumes) Update(pod *corev1.Pod) {}

// Mounts gives the mounts of a container of a prepared pod; env is the
// container's environment, for subPathExpr. The error's text is the message of
// a container that waits with reason CreateContainerConfigError.
func (v *Volumes) Mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, env []string) ([]runtime.Mount, error) {
	return nil, errNotYet
}

// Path is the directory of a pod's volume.
func (v *Volumes) Path(pod *corev1.Pod, volume string) (string, error) { return "", errNotYet }

// Teardown removes all volumes of a pod and its directory. It never deletes
// through a mount. Tearing down what is not there is no error.
func (v *Volumes) Teardown(ctx context.Context, uid types.UID) error { return errNotYet }

// Pods gives the pods that have a directory, for those that are gone to be torn
// down after a restart.
func (v *Volumes) Pods() ([]types.UID, error) { return nil, errNotYet }

// PodDir is the directory of a pod, where others may keep files, such as
// etc-hosts and containers/<name>/<attempt>, which Teardown removes too.
func (v *Volumes) PodDir(uid types.UID) string { return "" }

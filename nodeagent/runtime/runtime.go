// Package runtime is what the node agent needs of something that runs
// containers, and nothing more. Two implementations stand beside it:
// containerd for real ones and simulated for pods in memory. Both pass
// runtimetest.
//
// A pod is a [Sandbox] (its namespaces and cgroup, no process of its own) with
// containers inside. State is never kept by the caller: List after a restart
// of the agent gives back all that runs, with the labels it was created with.
package runtime

import (
	"context"
	"errors"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ErrNotFound is returned, wrapped, for a sandbox, container or image that
// does not exist.
var ErrNotFound = errors.New("not found")

// ErrImageMount is returned, wrapped, for a container of which an image can't be
// mounted. Its text is that of CRI's error.
var ErrImageMount = errors.New("ImageVolumeMountFailed")

// Runtime runs the containers of one node. Methods may be called
// concurrently; calls for one container must not be.
type Runtime interface {
	// Info says what this runtime is, and whether it can be reached.
	Info(ctx context.Context) (Info, error)

	// EnsureSandbox makes the sandbox if it is not there: network namespace,
	// IPC, UTS and cgroup parent. It does not touch the network inside.
	EnsureSandbox(ctx context.Context, s SandboxSpec) (Sandbox, error)
	// UpdateSandbox changes what limits a sandbox's cgroup as a whole.
	UpdateSandbox(ctx context.Context, id string, r Resources) error
	// RemoveSandbox removes a sandbox whose containers are gone. Removing
	// what is not there is no error.
	RemoveSandbox(ctx context.Context, id string) error

	// Create makes a container, without starting it, and gives its ID.
	Create(ctx context.Context, c ContainerSpec) (string, error)
	// Start runs a created container.
	Start(ctx context.Context, id string) error
	// Update changes the limits of a running container, which goes on. A memory
	// limit below what it uses is refused.
	Update(ctx context.Context, id string, r Resources) error
	// Signal sends a signal to a container's first process, "SIGTERM" as
	// images and pods name it; an empty name is the image's own stop signal.
	Signal(ctx context.Context, id, signal string) error
	// Kill kills all of a container's processes and waits until they are gone.
	Kill(ctx context.Context, id string) error
	// Remove removes a container that does not run, with its writable layer.
	Remove(ctx context.Context, id string) error
	// List gives all sandboxes and containers of this node.
	List(ctx context.Context) ([]Sandbox, []Container, error)
	// Pod gives one sandbox, nil if it is not there, and its containers.
	Pod(ctx context.Context, sandboxID string) (*Sandbox, []Container, error)
	// Watch calls f for every change of a container's state until ctx ends or
	// the connection is lost. Changes may be missed before it returns an
	// error: List afterwards.
	Watch(ctx context.Context, f func(containerID string)) error

	// Exec runs a command in a running container and gives its exit code.
	Exec(ctx context.Context, id string, e Exec) (int, error)
	// Attach connects to the first process of a running container until ctx or the
	// container ends, or the caller's Stdin where that leaves the container's open:
	// it has a terminal, or takes input from more than one caller.
	Attach(ctx context.Context, id string, io Streams) error
	// PortForward connects to a port on the loopback of the sandbox.
	PortForward(ctx context.Context, sandboxID string, port int32) (io.ReadWriteCloser, error)
	// Stats reads what a container uses.
	Stats(ctx context.Context, id string) (Stats, error)

	// Images.
	PullImage(ctx context.Context, ref string, auth []Credentials) (Image, error)
	ImageByRef(ctx context.Context, ref string) (Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	RemoveImage(ctx context.Context, id string) error
	// ImportImages loads an OCI or docker archive and gives the names in it.
	ImportImages(ctx context.Context, archive io.Reader) ([]string, error)
}

// Info describes a runtime for Node.status.nodeInfo.
type Info struct {
	Name    string // "containerd"
	Version string // "2.4.2"
	// CgroupVersion is 1 or 2; 0 where there are no cgroups.
	CgroupVersion int
}

// SandboxSpec is what containers of one pod share.
type SandboxSpec struct {
	ID        string // the pod's UID, or a mirror pod's hash
	Namespace string
	Name      string
	UID       types.UID
	Hostname  string
	// HostNetwork, HostIPC and HostPID leave the node's namespaces in place.
	HostNetwork, HostIPC, HostPID bool
	// UserNamespace gives the pod users of its own, hostUsers: false. A runtime that
	// has none to give refuses the sandbox.
	UserNamespace bool
	// ShareProcessNamespace gives all containers one PID namespace.
	ShareProcessNamespace bool
	Sysctls               map[string]string
	QOS                   corev1.PodQOSClass
	// Resources limit the pod's cgroup as a whole.
	Resources Resources
}

// Sandbox is a sandbox that exists.
type Sandbox struct {
	ID        string
	Namespace string
	Name      string
	UID       types.UID
	CreatedAt time.Time
	// NetNS is the path of its network namespace; empty with HostNetwork and
	// where there are none.
	NetNS string
	// Resources that limit its cgroup.
	Resources Resources
}

// ContainerSpec is one container, ready to be made: every reference resolved,
// every volume prepared.
type ContainerSpec struct {
	SandboxID string
	Name      string
	// Attempt counts the containers of this name in the pod from 0.
	Attempt int
	// Kind of container in the pod.
	Kind  ContainerKind
	Image string // an image ID or reference that is present
	// Command replaces the image's entrypoint, Args its cmd; Kubernetes' rules
	// for combining them are applied by the runtime, which knows the image.
	Command, Args []string
	WorkingDir    string
	Env           []string // NAME=value
	Mounts        []Mount
	Devices       []Device
	Stdin         bool
	StdinOnce     bool
	TTY           bool
	Security      *corev1.SecurityContext    // of the container, merged with the pod's
	PodSecurity   *corev1.PodSecurityContext // for groups
	Resources     Resources
	OOMScoreAdj   int
	// LogPath is the file that gets the output in CRI's log format.
	LogPath string
	// Completes says that it is expected to end by itself, as an init container
	// that is no sidecar.
	Completes bool
	// Annotations are the pod's.
	Annotations map[string]string
	// Hash of the part of the pod's spec that this container was made from.
	Hash string
	// Target is the ID of a running container of the sandbox whose processes this
	// one sees; empty: its own. It counts only where each container has its own.
	Target string
}

// ContainerKind tells the lists of a pod's spec apart.
type ContainerKind string

// The kinds of container.
const (
	Regular   ContainerKind = "regular"
	Init      ContainerKind = "init"
	Ephemeral ContainerKind = "ephemeral"
)

// Mount is a directory or file of the node, or an image, inside a container.
type Mount struct {
	Source, Target string
	// Image stands in for Source: the ID of an image that is present, or a
	// reference. Its files can be read and not executed. SubPath is a directory
	// of it.
	Image, SubPath string
	ReadOnly       bool
	// Propagation as in volumeMounts.
	Propagation corev1.MountPropagationMode
}

// Device is a device of the node inside a container.
type Device struct {
	Source, Target, Permissions string
}

// Resources are cgroup limits, and the requests and limits that they stand for;
// zero means none.
type Resources struct {
	CPUShares     uint64 // from requests
	CPUQuota      int64  // microseconds a period of 100 ms
	CPURequest    int64  // thousandths of a CPU
	CPULimit      int64  // thousandths of a CPU
	MemoryLimit   int64  // bytes
	MemoryRequest int64  // bytes
	PidsLimit     int64
}

// State of a container.
type State string

// The states of a container.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
	Unknown State = "unknown"
)

// Container is a container that exists.
type Container struct {
	ID        string // without the "containerd://" of pod status
	SandboxID string
	PodUID    types.UID
	Name      string
	Attempt   int
	Kind      ContainerKind
	Hash      string
	Image     string // as the pod's spec named it
	ImageID   string // "name@sha256:…"
	// Mounted are the IDs of the images that it mounts.
	Mounted []string
	State   State
	PID     int
	// Resources that it was given last; zero where that is not known.
	Resources Resources

	CreatedAt, StartedAt, FinishedAt time.Time

	ExitCode  int
	Signal    int  // that ended it; 0 if none
	OOMKilled bool // the kernel ended it for its memory
	// Message is why it could not be started.
	Message string
	LogPath string
}

// Streams are a process's standard streams; nil ones are not connected.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// Resize gives the terminal's size whenever it changes.
	Resize <-chan TerminalSize
}

// TerminalSize in characters.
type TerminalSize struct{ Width, Height uint16 }

// Exec is a command to run in a container.
type Exec struct {
	Command []string
	Streams
}

// Stats is what a container has used.
type Stats struct {
	Time             time.Time
	CPUNanoseconds   uint64 // since it started
	MemoryUsage      uint64 // bytes, page cache included
	MemoryWorkingSet uint64 // bytes, what can't be reclaimed at once
	MemoryRSS        uint64
	PageFaults       uint64
	MajorPageFaults  uint64
	Pids             uint64
	WritableBytes    uint64 // of its writable layer
	WritableInodes   uint64
	OOMs             uint64
}

// Image is an image that is present on the node.
type Image struct {
	ID          string   // "sha256:…" of its configuration
	RepoTags    []string // names with tags
	RepoDigests []string // names with digests
	Size        int64    // bytes
	User        string   // as the image names it, empty: root
	StopSignal  string   // as the image names it, empty: SIGTERM
}

// Credentials for one registry.
type Credentials struct {
	Registry           string
	Username, Password string
	IdentityToken      string
	RegistryToken      string
}

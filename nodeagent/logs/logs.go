package logs

import (
	"context"
	"errors"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Rotation says when a log is rotated. Zero values mean the kubelet's defaults.
type Rotation struct {
	MaxSize  int64 // bytes; 10 MiB
	MaxFiles int   // the current one included; 5
}

// Dir is where the logs of a pod are, below the root of all logs.
func Dir(root, namespace, name string, uid types.UID) string { return "" }

// Path is the log of one attempt to run a container.
func Path(root, namespace, name string, uid types.UID, container string, attempt int) string {
	return ""
}

// File is the log of one running container. It rotates itself while it is
// written.
type File struct{}

var errNotYet = errors.New("not yet written")

// Open opens a log to append to it, and makes its directory.
func Open(path string, rotation Rotation) (*File, error) { return nil, errNotYet }

// Stream gives the writer of "stdout" or "stderr". What is written to it becomes
// lines of the log; what has no end of line is kept until Close or until it is
// 16 KiB long, and then written as a partial line. Writers of one File may be
// used concurrently.
func (f *File) Stream(name string) io.WriteCloser { return nil }

// Close writes what is left and closes the file.
func (f *File) Close() error { return errNotYet }

// Read writes the log to stdout and stderr according to options (follow,
// tailLines, sinceSeconds, sinceTime, timestamps, limitBytes, stream); either
// writer may be nil. With follow it goes on until running gives false and all
// is read, or ctx ends.
func Read(ctx context.Context, path string, options *corev1.PodLogOptions, running func() bool, stdout, stderr io.Writer) error {
	return errNotYet
}

// Tail gives the last lines of a log without their times, at most maxLines and
// maxBytes, for the message of a container that ended with
// terminationMessagePolicy FallbackToLogsOnError.
func Tail(path string, maxLines, maxBytes int) (string, error) { return "", errNotYet }

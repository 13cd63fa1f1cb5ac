package status

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"
)

const (
	firstRetry = 100 * time.Millisecond
	maxRetry   = 10 * time.Second
	// atOnce is how many requests a node has in flight, one as a kubelet. In a
	// burst of pods the others wait and then write what is true by then, often
	// Running at once: half as many requests as with four in flight, and all pods
	// are done earlier.
	atOnce = 1
)

// Writer writes the status of pods: at most one request for each pod at a time,
// few at once, always the newest status.
type Writer struct {
	client corev1client.PodsGetter
	slots  chan struct{}

	ctx   context.Context //nolint:containedctx // The agent's life: writes begin when something was seen.
	tasks *sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*entry
}

type entry struct {
	pod     *corev1.Pod // newest known of the API
	want    corev1.PodStatus
	remove  bool // delete the pod once the status is written
	writing bool
	dirty   bool
	gone    bool
}

// NewWriter makes a writer whose requests end with ctx and are counted in tasks.
func NewWriter(ctx context.Context, client corev1client.PodsGetter, tasks *sync.WaitGroup) *Writer {
	return &Writer{client: client, slots: make(chan struct{}, atOnce), ctx: ctx, tasks: tasks, pods: map[types.UID]*entry{}}
}

// Latest gives the newest version of a pod that is known: its status may have
// been written a moment ago, before the watch has told.
func (w *Writer) Latest(pod *corev1.Pod) *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, ok := w.pods[pod.UID]; ok {
		return newest(e.pod, pod)
	}
	return pod
}

// Set takes a pod's status. With remove, the pod is deleted from the API when
// that is written.
func (w *Writer) Set(pod *corev1.Pod, status corev1.PodStatus, remove bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.pods[pod.UID]
	if !ok {
		e = &entry{pod: pod}
		w.pods[pod.UID] = e
	}
	e.pod = newest(e.pod, pod)
	e.want = status
	e.remove = e.remove || remove
	if e.gone || w.ctx.Err() != nil || !e.remove && Patch(&e.pod.Status, &status) == nil {
		return
	}
	e.dirty = true
	if !e.writing {
		e.writing = true
		w.tasks.Go(func() { w.write(e) })
	}
}

// Forget drops a pod that is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, ok := w.pods[uid]; ok {
		e.gone = true
		delete(w.pods, uid)
	}
}

// newest compares resourceVersions, which grow.
func newest(a, b *corev1.Pod) *corev1.Pod {
	if a.UID != b.UID || len(b.ResourceVersion) > len(a.ResourceVersion) ||
		len(b.ResourceVersion) == len(a.ResourceVersion) && b.ResourceVersion >= a.ResourceVersion {
		return b
	}
	return a
}

// write goes on until the newest status is written.
func (w *Writer) write(e *entry) {
	delay := firstRetry
	for {
		w.slots <- struct{}{}
		w.mu.Lock()
		if !e.dirty || e.gone || w.ctx.Err() != nil {
			e.writing = false
			w.mu.Unlock()
			<-w.slots
			return
		}
		e.dirty = false
		pod, want, remove := e.pod, e.want, e.remove
		w.mu.Unlock()

		written, err := w.writeOnce(pod, want, remove)
		<-w.slots
		w.mu.Lock()
		if written != nil {
			e.pod = newest(e.pod, written)
		}
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			// Gone, or replaced by another of its name: the watch will tell.
			e.gone = true
		case err != nil:
			e.dirty = true
		}
		w.mu.Unlock()
		if err == nil || e.gone {
			delay = firstRetry
			continue
		}
		if w.ctx.Err() == nil {
			klog.FromContext(w.ctx).Error(err, "Writing status of pod", "Pod", klog.KObj(pod))
		}
		select {
		case <-w.ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, maxRetry)
	}
}

func (w *Writer) writeOnce(pod *corev1.Pod, want corev1.PodStatus, remove bool) (*corev1.Pod, error) {
	written := pod
	if patch := Patch(&pod.Status, &want); patch != nil {
		data, err := encode(pod.UID, patch)
		if err != nil {
			return nil, err
		}
		// Nobody reads the warnings of unknown fields, which the server would look for.
		options := metav1.PatchOptions{FieldValidation: metav1.FieldValidationIgnore}
		written, err = w.client.Pods(pod.Namespace).Patch(w.ctx, pod.Name, types.StrategicMergePatchType, data, options, "status")
		if err != nil {
			return nil, err
		}
	}
	if !remove {
		return written, nil
	}
	err := w.client.Pods(pod.Namespace).Delete(w.ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)),
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return written, err
}

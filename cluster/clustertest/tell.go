package clustertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// tellTimeout bounds what a test that has failed costs on top.
	tellTimeout = 10 * time.Second
	// tellEvents is how many events are told, the newest.
	tellEvents = 200
)

// tell logs what the cluster has to say about a test that has failed.
func tell(t testing.TB, k client.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), tellTimeout)
	defer cancel()
	// The test's own scheme need not have these kinds.
	var events []corev1.Event
	var pods []corev1.Pod
	err := list(ctx, k, "Event", &events)
	if err == nil {
		err = list(ctx, k, "Pod", &pods)
	}
	if err != nil {
		t.Logf("The cluster can't say what happened: %v", err)
		return
	}
	t.Log(describe(events, pods))
}

func list[T any](ctx context.Context, k client.Reader, kind string, into *[]T) error {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: kind + "List"})
	if err := k.List(ctx, all); err != nil {
		return err
	}
	for _, item := range all.Items {
		var v T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &v); err != nil {
			return err
		}
		*into = append(*into, v)
	}
	return nil
}

// describe writes events in the order of their time, and pods.
func describe(events []corev1.Event, pods []corev1.Pod) string {
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return when(&a).Compare(when(&b)) })
	var out strings.Builder
	fmt.Fprintf(&out, "Events of the cluster (%d):\n", len(events))
	if left := len(events) - tellEvents; left > 0 {
		fmt.Fprintf(&out, "… %d older ones …\n", left)
		events = events[left:]
	}
	w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	for i := range events {
		e := &events[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", when(e).Format("15:04:05.000"), e.Type, e.Reason, object(e), e.Message)
	}
	_ = w.Flush() // to memory
	fmt.Fprintf(&out, "Pods (%d):\n", len(pods))
	for i := range pods {
		p := &pods[i]
		fmt.Fprintf(w, "%s/%s\t%s\t%s\ton %q\t%s\n", p.Namespace, p.Name, p.Status.Phase, readiness(p), p.Spec.NodeName, strings.Join(reasons(p), "; "))
	}
	_ = w.Flush()
	return out.String()
}

// when is an event's time, which old and new clients write to different fields.
func when(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func object(e *corev1.Event) string {
	o := e.InvolvedObject
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

func readiness(p *corev1.Pod) string {
	ready := 0
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d ready", ready, len(p.Spec.Containers))
}

// reasons say why a pod is not as it should be.
func reasons(p *corev1.Pod) []string {
	var out []string
	if p.DeletionTimestamp != nil {
		out = append(out, "being deleted, finalizers "+fmt.Sprintf("%q", p.Finalizers))
	}
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Reason != "" {
			out = append(out, fmt.Sprintf("not %s: %s %s", c.Type, c.Reason, c.Message))
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			out = append(out, fmt.Sprintf("container %s waits: %s %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message))
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			out = append(out, fmt.Sprintf("container %s ended: %s, exit code %d", c.Name, c.State.Terminated.Reason, c.State.Terminated.ExitCode))
		}
	}
	return out
}

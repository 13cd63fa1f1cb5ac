package podgc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/skiffcluster/skiff/controllers/peek"
)

const (
	// Name is the controller's name in logs.
	Name = "pod-garbage-collector-controller"
	// DefaultThreshold is how many terminated pods stay
	// (kube-controller-manager's --terminated-pod-gc-threshold).
	DefaultThreshold = 12500
	// DefaultPeriod is the time between two looks (upstream's number).
	DefaultPeriod = 20 * time.Second
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch

// Reconciler looks at all pods once in a while. It is no reconciler of single
// objects: quarantine and threshold are about all of them, and a look costs no
// request as long as there is nothing to delete.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache.
	Live  client.Reader
	Clock clock.WithTicker
	// Threshold is how many terminated pods stay. Zero: DefaultThreshold;
	// negative: all.
	Threshold int
	// Period is the time between looks. Zero: DefaultPeriod.
	Period time.Duration

	pods    peek.Store[*corev1.Pod]
	nodes   peek.Store[*corev1.Node]
	missing missing
}

// SetupWithManager adds the loop to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Threshold == 0 {
		r.Threshold = DefaultThreshold
	}
	if r.Period == 0 {
		r.Period = DefaultPeriod
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.missing = missing{}
	var err error
	if r.pods, err = peek.At(mgr, &corev1.Pod{}); err != nil {
		return err
	}
	if r.nodes, err = peek.At(mgr, &corev1.Node{}); err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(r.run))
}

func (r *Reconciler) run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("controller", Name))
	ticker := r.Clock.NewTicker(r.Period)
	defer ticker.Stop()
	for {
		if err := r.collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Failed to delete pods")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// collect is one look.
func (r *Reconciler) collect(ctx context.Context) error {
	pods := r.pods.List()
	nodes := map[string]*corev1.Node{}
	for _, node := range r.nodes.List() {
		nodes[node.Name] = node
	}
	var errs []error
	gone := map[string]bool{}
	for _, name := range r.missing.observe(pods, nodes, r.Clock.Now()) {
		err := r.Live.Get(ctx, client.ObjectKey{Name: name}, &corev1.Node{})
		switch {
		case apierrors.IsNotFound(err):
			gone[name] = true
		case err != nil:
			errs = append(errs, fmt.Errorf("get node %s: %w", name, err))
		}
	}
	for _, removal := range plan(pods, nodes, gone, r.Threshold) {
		errs = append(errs, r.remove(ctx, removal))
	}
	return errors.Join(errs...)
}

// remove marks the pod as failed, unless it has ended, and deletes it at once.
func (r *Reconciler) remove(ctx context.Context, removal removal) error {
	pod := removal.pod
	if !isTerminated(pod) {
		failed := pod.DeepCopy()
		failed.Status.Phase = corev1.PodFailed
		if removal.condition != nil {
			setCondition(&failed.Status, *removal.condition, r.Clock.Now())
		}
		// The UID in the patch keeps it from another pod of the same name.
		before := pod.DeepCopy()
		before.UID = ""
		err := r.Client.Status().Patch(ctx, failed, client.StrategicMergeFrom(before))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // gone, or another pod by now
		}
		if err != nil {
			return fmt.Errorf("mark pod %s as failed: %w", klog.KObj(pod), err)
		}
	}
	err := r.Client.Delete(ctx, pod.DeepCopy(), client.GracePeriodSeconds(0), client.Preconditions{UID: uid(pod)})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s: %w", klog.KObj(pod), err)
	}
	klog.FromContext(ctx).Info("Deleted pod without grace", "Pod", klog.KObj(pod), "node", pod.Spec.NodeName)
	return nil
}

func uid(pod *corev1.Pod) *types.UID { return &pod.UID }

// setCondition sets condition in status; the transition time changes with its
// status only.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition, now time.Time) {
	condition.LastTransitionTime = metav1.NewTime(now)
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == condition.Type })
	if i < 0 {
		status.Conditions = append(status.Conditions, condition)
		return
	}
	if status.Conditions[i].Status == condition.Status {
		condition.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = condition
}

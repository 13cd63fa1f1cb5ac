package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// period is the time between two looks at an autoscaler's metrics (upstream's
// --horizontal-pod-autoscaler-sync-period).
const period = 15 * time.Second

// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers/status,verbs=update
// +kubebuilder:rbac:groups=*,resources=*/scale,verbs=get;update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=metrics.k8s.io,resources=pods,verbs=list
// +kubebuilder:rbac:groups=custom.metrics.k8s.io;external.metrics.k8s.io,resources=*,verbs=get;list
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler keeps the scale of each HorizontalPodAutoscaler's target.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	// Sources read metrics. Nil: the metrics APIs of the API server.
	Sources Sources

	mu        sync.Mutex
	memories  map[client.ObjectKey]*memory
	selectors map[string]map[string]labels.Selector // namespace, autoscaler
}

// SetupWithManager adds the controller to mgr.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.memories, r.selectors = map[client.ObjectKey]*memory{}, map[string]map[string]labels.Selector{}
	if r.Sources == nil {
		var err error
		if r.Sources, err = newSources(mgr); err != nil {
			return err
		}
	}
	changed := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, is := e.ObjectOld.(*autoscalingv2.HorizontalPodAutoscaler)
		after, isToo := e.ObjectNew.(*autoscalingv2.HorizontalPodAutoscaler)
		return is && isToo && !apiequality.Semantic.DeepEqual(before.Spec, after.Spec)
	}}
	return turn.NewController(mgr).
		Named("horizontal-pod-autoscaler-controller").
		For(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(changed)).
		Complete(r)
}

// scope is what one turn has read and decided.
type scope struct {
	autoscaler *autoscalingv2.HorizontalPodAutoscaler // a copy; its status is changed as the turn goes
	before     autoscalingv2.HorizontalPodAutoscalerStatus
	memory     *memory
	scale      *scale
	now        time.Time
}

// Reconcile runs one turn for one autoscaler.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := r.Client.Get(ctx, req.NamespacedName, autoscaler); err != nil {
		if apierrors.IsNotFound(err) {
			r.drop(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{autoscaler: autoscaler, before: *autoscaler.Status.DeepCopy(), memory: r.remember(req.NamespacedName), now: r.Clock.Now()}
	err := r.autoscale(ctx, s)
	if err != nil {
		// What is wrong is told by event and condition, and looked at again
		// after the usual time.
		klog.FromContext(ctx).V(1).Info("Autoscaler cannot be computed", "HorizontalPodAutoscaler", req.NamespacedName, "reason", err.Error())
	}
	return ctrl.Result{RequeueAfter: period}, r.writeStatus(ctx, s)
}

func (r *Reconciler) remember(key client.ObjectKey) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memories[key] == nil {
		r.memories[key] = &memory{}
	}
	return r.memories[key]
}

func (r *Reconciler) drop(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memories, key)
	delete(r.selectors[key.Namespace], key.Name)
}

// autoscale reads, decides and scales.
func (r *Reconciler) autoscale(ctx context.Context, s *scope) error {
	spec := &s.autoscaler.Spec
	var err error
	if s.scale, err = r.readScale(ctx, s.autoscaler); err != nil {
		r.warn(s, "FailedGetScale", "%v", err)
		s.condition(autoscalingv2.AbleToScale, false, told{"FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err)})
		return err
	}
	s.condition(autoscalingv2.AbleToScale, true, told{"SucceededGetScale", "the HPA controller was able to get the target's current scale"})
	current, least := s.scale.spec, ptr.Deref(spec.MinReplicas, 1)
	s.memory.forget(spec.Behavior, s.now)
	if len(s.memory.recommendations) == 0 {
		s.memory.recommendations = append(s.memory.recommendations, recommendation{s.now, current})
	}
	var wish int32
	var reason string
	s.autoscaler.Status.CurrentReplicas = current
	switch {
	case current == 0 && least != 0:
		s.autoscaler.Status.DesiredReplicas = 0
		s.condition(autoscalingv2.ScalingActive, false, told{"ScalingDisabled", "scaling is disabled since the replica count of the target is zero"})
		return nil
	case current > spec.MaxReplicas:
		wish, reason = spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas"
	case current < least:
		wish, reason = least, "Current number of replicas below Spec.MinReplicas"
	default:
		best, err := r.ask(ctx, s)
		if err != nil && best == nil {
			r.warn(s, "FailedComputeMetricsReplicas", "%v", err)
			return fmt.Errorf("failed to compute desired number of replicas based on listed metrics for %s: %w", s.scale, err)
		}
		if best.replicas > current {
			reason = best.metric + " above target"
		} else if best.replicas < current {
			reason = "All metrics below target"
		}
		wish = s.calm(best.replicas, least)
	}
	if wish == current {
		s.autoscaler.Status.DesiredReplicas = current
		return nil
	}
	return r.rescale(ctx, s, wish, reason)
}

// calm applies behavior and limits to what the metrics ask for.
func (s *scope) calm(wish, least int32) int32 {
	spec, current := &s.autoscaler.Spec, s.scale.spec
	stable, why := planStable(spec.Behavior, s.memory.recommendations, current, wish, s.now)
	s.memory.recommendations = append(s.memory.recommendations, recommendation{s.now, wish})
	s.condition(autoscalingv2.AbleToScale, true, why)
	limited, why := planLimits(spec, least, s.memory.scalings, current, stable, s.now)
	s.condition(autoscalingv2.ScalingLimited, limited != stable, why)
	return limited
}

func (r *Reconciler) rescale(ctx context.Context, s *scope, wish int32, reason string) error {
	current := s.scale.spec
	if err := r.writeScale(ctx, s.scale, wish); err != nil {
		r.warn(s, "FailedRescale", "New size: %d; reason: %s; error: %v", wish, reason, err)
		s.condition(autoscalingv2.AbleToScale, false, told{"FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err)})
		return fmt.Errorf("failed to rescale %s: %w", s.scale, err)
	}
	s.condition(autoscalingv2.AbleToScale, true, told{"SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", wish)})
	r.Events.Eventf(s.autoscaler, nil, corev1.EventTypeNormal, "SuccessfulRescale", "Rescale", "New size: %d; reason: %s", wish, reason)
	s.memory.scalings = append(s.memory.scalings, scaling{s.now, wish - current})
	s.autoscaler.Status.DesiredReplicas, s.autoscaler.Status.LastScaleTime = wish, ptr.To(metav1.NewTime(s.now))
	klog.FromContext(ctx).Info("Rescaled", "HorizontalPodAutoscaler", klog.KObj(s.autoscaler), "from", current, "to", wish, "reason", reason)
	return nil
}

// ask asks all metrics and returns the proposal of the most replicas. As long as
// one of them fails no pod is taken away.
func (r *Reconciler) ask(ctx context.Context, s *scope) (*proposal, error) {
	t, err := r.readTarget(ctx, s)
	if err != nil {
		return nil, err
	}
	calculate := calculator{sources: r.Sources, tolerate: toleranceOf(s.autoscaler.Spec.Behavior), now: s.now}
	var best *proposal
	var first failure
	var failed int
	metrics := s.autoscaler.Spec.Metrics
	s.autoscaler.Status.CurrentMetrics = make([]autoscalingv2.MetricStatus, 0, len(metrics))
	for _, metric := range metrics {
		p, err := calculate.propose(ctx, t, metric)
		if err != nil {
			var f failure
			if errors.As(err, &f) {
				r.warn(s, f.reason, "%v", f.cause)
			}
			if failed == 0 {
				first = f
			}
			failed++
			s.autoscaler.Status.CurrentMetrics = append(s.autoscaler.Status.CurrentMetrics, autoscalingv2.MetricStatus{})
			continue
		}
		s.autoscaler.Status.CurrentMetrics = append(s.autoscaler.Status.CurrentMetrics, p.status)
		if best == nil || p.replicas > best.replicas {
			best = &p
		}
	}
	if failed > 0 {
		err = fmt.Errorf("invalid metrics (%v invalid out of %v), first error is: %w", failed, len(metrics), first)
	}
	if best == nil || (failed > 0 && best.replicas < s.scale.spec) {
		s.condition(autoscalingv2.ScalingActive, false, told{first.reason, fmt.Sprintf("the HPA was unable to compute the replica count: %v", first.cause)})
		return nil, err
	}
	s.condition(autoscalingv2.ScalingActive, true, told{"ValidMetricFound", "the HPA was able to successfully calculate a replica count from " + best.metric})
	return best, err
}

// readTarget finds the pods that are scaled.
func (r *Reconciler) readTarget(ctx context.Context, s *scope) (target, error) {
	if s.scale.selector == "" {
		r.warn(s, "SelectorRequired", "selector is required")
		s.condition(autoscalingv2.ScalingActive, false, told{"InvalidSelector", "the HPA target's scale is missing a selector"})
		return target{}, errors.New("selector is required")
	}
	selector, err := metav1.ParseToLabelSelector(s.scale.selector)
	var matches labels.Selector
	if err == nil {
		matches, err = metav1.LabelSelectorAsSelector(selector)
	}
	if err != nil {
		err = fmt.Errorf("couldn't convert selector into a corresponding internal selector object: %w", err)
		r.warn(s, "InvalidSelector", "%v", err)
		s.condition(autoscalingv2.ScalingActive, false, told{"InvalidSelector", err.Error()})
		return target{}, err
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(s.autoscaler.Namespace), client.MatchingLabelsSelector{Selector: matches}, client.UnsafeDisableDeepCopy); err != nil {
		return target{}, fmt.Errorf("unable to get pods while calculating replica count: %w", err)
	}
	t := target{namespace: s.autoscaler.Namespace, selector: matches, pods: podctl.Items(&list), spec: s.scale.spec, replicas: s.scale.status}
	if others := r.others(s.autoscaler, t); len(others) > 0 {
		err := fmt.Errorf("pods by selector %v are controlled by multiple HPAs: [%s]", s.scale.selector, strings.Join(others, " "))
		r.warn(s, "AmbiguousSelector", "%v", err)
		s.condition(autoscalingv2.ScalingActive, false, told{"AmbiguousSelector", err.Error()})
		return target{}, err
	}
	return t, nil
}

// others names all autoscalers of the pods when there is more than one.
func (r *Reconciler) others(self *autoscalingv2.HorizontalPodAutoscaler, t target) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.selectors[self.Namespace] == nil {
		r.selectors[self.Namespace] = map[string]labels.Selector{}
	}
	r.selectors[self.Namespace][self.Name] = t.selector
	found := ambiguous(self.Name, r.selectors[self.Namespace], t.pods)
	if len(found) == 0 {
		return nil
	}
	names := append(found, self.Name)
	for i := range names {
		names[i] = self.Namespace + "/" + names[i]
	}
	slices.Sort(names)
	return names
}

func (r *Reconciler) warn(s *scope, reason, format string, args ...any) {
	r.Events.Eventf(s.autoscaler, nil, corev1.EventTypeWarning, reason, "Autoscale", format, args...)
}

// condition sets a condition; its time changes with its status only.
func (s *scope) condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType, isTrue bool, why told) {
	status := corev1.ConditionFalse
	if isTrue {
		status = corev1.ConditionTrue
	}
	conditions := s.autoscaler.Status.Conditions
	i := slices.IndexFunc(conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		conditions = append(conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind})
		i = len(conditions) - 1
	}
	if conditions[i].Status != status {
		conditions[i].Status, conditions[i].LastTransitionTime = status, metav1.NewTime(s.now)
	}
	conditions[i].Reason, conditions[i].Message = why.reason, why.message
	s.autoscaler.Status.Conditions = conditions
}

// writeStatus writes the status if it differs from the server's.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	if apiequality.Semantic.DeepEqual(s.before, s.autoscaler.Status) {
		return nil
	}
	// A conflict is left to the next turn: what the status says is seldom more
	// than a quarter of a minute old.
	err := r.Client.Status().Update(ctx, s.autoscaler)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("update status of autoscaler %s: %w", klog.KObj(s.autoscaler), err)
	}
	return nil
}

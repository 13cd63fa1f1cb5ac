package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and metrics.
	Name = "endpointslice-controller"
	// ManagedBy is the label value that marks the slices written here.
	ManagedBy = "endpointslice-controller.k8s.io"

	// maxPerSlice is how many endpoints a slice holds at most
	// (--max-endpoints-per-slice).
	maxPerSlice = 100
	// batch is the shortest time between two turns of one service.
	batch = 100 * time.Millisecond
)

// +kubebuilder:rbac:groups="",resources=services;pods;nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=services/finalizers,verbs=update

// Reconciler keeps the EndpointSlices of each service with a selector.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder
	// Concurrency is the number of services worked on at a time. Zero: 5.
	Concurrency int

	library  *endpointslice.Reconciler
	tracker  *endpointsliceutil.EndpointSliceTracker
	triggers *endpointsliceutil.TriggerTimeTracker
	topology *topologycache.TopologyCache
	pace     Pace
	lag      Lag
}

// SetupWithManager starts a turn for every service that changes, and for those
// concerned when a pod, a slice or the nodes' zones change.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(Name)
	}
	if r.Concurrency == 0 {
		r.Concurrency = 5
	}
	// The library writes by a clientset; it shares the manager's connections.
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	clientset, err := kubernetes.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client for EndpointSlices: %w", err)
	}
	r.tracker = endpointsliceutil.NewEndpointSliceTracker()
	r.triggers = endpointsliceutil.NewTriggerTimeTracker()
	r.topology = topologycache.NewTopologyCache()
	r.pace.Interval = batch
	r.library = endpointslice.NewReconciler(clientset, nodeLister{r.Client}, maxPerSlice, r.tracker, r.topology,
		recorder{r.Events}, ManagedBy, endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Service{}).
		Watches(&corev1.Pod{}, PodHandler(r.Client)).
		Watches(&discoveryv1.EndpointSlice{}, sliceHandler(r.tracker)).
		Watches(&corev1.Node{}, r.nodeHandler(), builder.WithPredicates(topologyChanged)).
		WithOptions(turn.WithQueue(controller.Options{MaxConcurrentReconciles: r.Concurrency})).
		Complete(r)
}

// Reconcile brings one service's slices in line with its pods.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	service := &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, service); err != nil {
		if apierrors.IsNotFound(err) {
			// The slices are the service's property: the garbage collector
			// deletes them.
			r.triggers.DeleteService(req.Namespace, req.Name)
			r.library.DeleteService(req.Namespace, req.Name)
			r.tracker.DeleteService(req.Namespace, req.Name)
			r.pace.Forget(req.NamespacedName)
			r.lag.Over(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return ctrl.Result{}, nil
	}
	if wait := r.pace.Wait(req.NamespacedName, r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	pods, err := r.listPods(ctx, service)
	if err != nil {
		return ctrl.Result{}, err
	}
	slices, err := r.listSlices(ctx, service)
	if err != nil {
		return ctrl.Result{}, err
	}
	if r.tracker.StaleSlices(service, slices) {
		// Our last writes are not in the cache yet; they arrive as events,
		// which are no reason for a turn, hence the short wait.
		if !r.lag.TooLong(req.NamespacedName, r.Clock.Now()) {
			return ctrl.Result{RequeueAfter: batch}, nil
		}
		r.tracker.DeleteService(req.Namespace, req.Name)
	}
	r.lag.Over(req.NamespacedName)
	changed := r.triggers.ComputeEndpointLastChangeTriggerTime(service.Namespace, service, pods)
	err = r.library.Reconcile(klog.FromContext(ctx), service, pods, slices, changed)
	if err != nil {
		if isOnlyConflicts(err) {
			return ctrl.Result{RequeueAfter: batch}, nil
		}
		r.Events.Eventf(service, nil, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "UpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) listPods(ctx context.Context, service *corev1.Service) ([]*corev1.Pod, error) {
	list := &corev1.PodList{}
	err := r.Client.List(ctx, list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabelsSelector{Selector: labels.Set(service.Spec.Selector).AsSelectorPreValidated()})
	if err != nil {
		return nil, fmt.Errorf("list pods of service %s: %w", klog.KObj(service), err)
	}
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods, nil
}

// listSlices returns the service's slices that are ours and not being deleted.
func (r *Reconciler) listSlices(ctx context.Context, service *corev1.Service) ([]*discoveryv1.EndpointSlice, error) {
	list := &discoveryv1.EndpointSliceList{}
	err := r.Client.List(ctx, list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: ManagedBy})
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices of service %s: %w", klog.KObj(service), err)
	}
	slices := make([]*discoveryv1.EndpointSlice, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			slices = append(slices, &list.Items[i])
		}
	}
	return slices, nil
}

// isOnlyConflicts tells whether every error is about a slice that changed
// meanwhile: nothing to tell the user, the next turn sees the change.
func isOnlyConflicts(err error) bool {
	var many interface{ Errors() []error }
	if errors.As(err, &many) {
		for _, one := range many.Errors() {
			if !isOnlyConflicts(one) {
				return false
			}
		}
		return len(many.Errors()) > 0
	}
	return apierrors.IsConflict(err)
}

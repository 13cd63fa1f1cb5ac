package controller

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

const (
	// finalizer keeps a site until it is out of the directory, which is in
	// another namespace and can't be owned by it.
	finalizer = "web.example.com/directory"
	// fieldOwner owns what is applied.
	fieldOwner = client.FieldOwner("website-operator")
)

// +kubebuilder:rbac:groups=web.example.com,resources=websites,verbs=get;list;watch;update
// +kubebuilder:rbac:groups=web.example.com,resources=websites/status,verbs=get;update
// +kubebuilder:rbac:groups=web.example.com,resources=websites/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler serves each Website.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	// Directory is the ConfigMap that lists all sites.
	Directory client.ObjectKey
	// SkipNameValidation lets several run in one process, as tests do.
	SkipNameValidation bool
}

// SetupWithManager has a site looked at when it, its Deployment or its Service
// changes.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).
		For(&webv1.Website{}).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		WithOptions(controller.Options{SkipNameValidation: &r.SkipNameValidation}).
		Complete(r)
}

// Reconcile makes one site what its spec says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (_ ctrl.Result, err error) {
	site := &webv1.Website{}
	if err := r.Client.Get(ctx, req.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.takeDown(ctx, site)
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		if err := r.Client.Update(ctx, site); err != nil {
			return ctrl.Result{}, fmt.Errorf("add finalizer: %w", err)
		}
	}
	before := site.DeepCopy()
	failed := r.serve(ctx, site)
	deployment := &appsv1.Deployment{}
	if err := r.Client.Get(ctx, req.NamespacedName, deployment); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, errors.Join(failed, err)
	}
	site.Status = planStatus(site, deployment, failed)
	if !apiequality.Semantic.DeepEqual(before.Status, site.Status) {
		r.tell(before, site)
		if err := r.Client.Status().Update(ctx, site); err != nil {
			return ctrl.Result{}, errors.Join(failed, fmt.Errorf("write status: %w", err))
		}
	}
	return ctrl.Result{}, failed
}

// serve applies what a site owns and lists it in the directory.
func (r *Reconciler) serve(ctx context.Context, site *webv1.Website) error {
	owner, err := r.owner(site)
	if err != nil {
		return err
	}
	if err := r.Client.Apply(ctx, planDeployment(site, owner), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply Deployment: %w", err)
	}
	if err := r.Client.Apply(ctx, planService(site, owner), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply Service: %w", err)
	}
	return r.list(ctx, entry(site), url(site))
}

// takeDown does what the garbage collector can't, and lets the site go.
func (r *Reconciler) takeDown(ctx context.Context, site *webv1.Website) error {
	if !controllerutil.ContainsFinalizer(site, finalizer) {
		return nil
	}
	if err := r.list(ctx, entry(site), ""); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(site, finalizer)
	if err := r.Client.Update(ctx, site); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove finalizer: %w", err)
	}
	return nil
}

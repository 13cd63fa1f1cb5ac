package clusterroleaggregation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=get;list;watch;update;escalate

// Reconciler keeps the rules of aggregated ClusterRoles.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager adds the controller to mgr: whichever role changes, one turn
// looks at all aggregated ones, of which there are few.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("clusterrole-aggregation-controller").
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: "all"}}}
		})).
		Complete(r)
}

// Reconcile runs one turn for all aggregated roles.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var list rbacv1.ClusterRoleList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list cluster roles: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	var errs []error
	for i := range list.Items {
		if list.Items[i].AggregationRule != nil {
			errs = append(errs, r.aggregate(ctx, &list.Items[i], list.Items))
		}
	}
	return ctrl.Result{}, errors.Join(errs...)
}

// aggregate writes one role's rules if they are others. The roles are the
// cache's own.
func (r *Reconciler) aggregate(ctx context.Context, role *rbacv1.ClusterRole, roles []rbacv1.ClusterRole) error {
	rules, err := planRules(role, roles)
	if err != nil {
		return err
	}
	if apiequality.Semantic.DeepEqual(role.Rules, rules) {
		return nil
	}
	changed := role.DeepCopy()
	changed.Rules = rules
	// A conflict is another writer, whose event starts the next turn.
	if err := r.Client.Update(ctx, changed); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update rules of cluster role %s: %w", role.Name, err)
	}
	return nil
}

// planRules gathers the rules of the selected roles: selector by selector, role
// by role in the order given, each rule once.
func planRules(role *rbacv1.ClusterRole, roles []rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	rules := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("read selector of cluster role %s: %w", role.Name, err)
		}
		for j := range roles {
			if roles[j].Name == role.Name || !selector.Matches(labels.Set(roles[j].Labels)) {
				continue
			}
			for _, rule := range roles[j].Rules {
				if !slices.ContainsFunc(rules, func(had rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(had, rule) }) {
					rules = append(rules, *rule.DeepCopy())
				}
			}
		}
	}
	return rules, nil
}

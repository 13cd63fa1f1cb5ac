package clusterroleaggregation

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=get;list;watch;update;escalate

// Reconciler keeps the rules of aggregated ClusterRoles.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager adds the controller to mgr: a role that changes starts a
// turn for every aggregated one, of which there are few.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("clusterrole-aggregation-controller").
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
			roles, err := r.list(ctx)
			if err != nil {
				klog.FromContext(ctx).Error(err, "Cannot look for aggregated roles")
				return nil
			}
			var requests []reconcile.Request
			for i := range roles {
				if roles[i].AggregationRule != nil {
					requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&roles[i])})
				}
			}
			return requests
		})).
		Complete(r)
}

// list gives all roles, the cache's own.
func (r *Reconciler) list(ctx context.Context) ([]rbacv1.ClusterRole, error) {
	var list rbacv1.ClusterRoleList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list cluster roles: %w", err)
	}
	return list.Items, nil
}

// Reconcile runs one turn for one role.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	role := &rbacv1.ClusterRole{}
	if err := r.Client.Get(ctx, req.NamespacedName, role); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if role.AggregationRule == nil {
		return ctrl.Result{}, nil
	}
	roles, err := r.list(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	rules, err := planRules(role, roles)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(err)
	}
	if apiequality.Semantic.DeepEqual(role.Rules, rules) {
		return ctrl.Result{}, nil
	}
	role.Rules = rules
	// A conflict is another writer, whose event starts the next turn.
	if err := r.Client.Update(ctx, role); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("update rules of cluster role %s: %w", role.Name, err)
	}
	return ctrl.Result{}, nil
}

// planRules gathers the rules of the selected roles: selector by selector, role
// by role in the order of their names, each rule once.
func planRules(role *rbacv1.ClusterRole, roles []rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	ordered := slices.SortedFunc(slices.Values(roles), func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	rules := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("read selector of cluster role %s: %w", role.Name, err)
		}
		for j := range ordered {
			if ordered[j].Name == role.Name || !selector.Matches(labels.Set(ordered[j].Labels)) {
				continue
			}
			for _, rule := range ordered[j].Rules {
				if !slices.ContainsFunc(rules, func(had rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(had, rule) }) {
					rules = append(rules, *rule.DeepCopy())
				}
			}
		}
	}
	return rules, nil
}

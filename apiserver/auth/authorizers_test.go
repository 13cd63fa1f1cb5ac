package auth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// rbacOf gives an authorizer over objects.
func rbacOf(t *testing.T, objs ...any) *auth.RBAC {
	t.Helper()
	index := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	roles, bindings, clusterRoles, clusterBindings := index(), index(), index(), index()
	for _, o := range objs {
		var err error
		switch o.(type) {
		case *rbacv1.Role:
			err = roles.Add(o)
		case *rbacv1.RoleBinding:
			err = bindings.Add(o)
		case *rbacv1.ClusterRole:
			err = clusterRoles.Add(o)
		case *rbacv1.ClusterRoleBinding:
			err = clusterBindings.Add(o)
		default:
			err = fmt.Errorf("%T", o)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &auth.RBAC{
		Roles: rbaclisters.NewRoleLister(roles), RoleBindings: rbaclisters.NewRoleBindingLister(bindings),
		ClusterRoles: rbaclisters.NewClusterRoleLister(clusterRoles), ClusterRoleBindings: rbaclisters.NewClusterRoleBindingLister(clusterBindings),
	}
}

// bootstrapped is the authorizer of a new cluster.
func bootstrapped(t *testing.T) *auth.RBAC {
	t.Helper()
	var objs []any
	for _, o := range auth.ClusterRoles() {
		objs = append(objs, o)
	}
	for _, o := range auth.ClusterRoleBindings() {
		objs = append(objs, o)
	}
	for _, o := range auth.Roles() {
		objs = append(objs, o)
	}
	for _, o := range auth.RoleBindings() {
		objs = append(objs, o)
	}
	return rbacOf(t, objs...)
}

// ask reads a request: "VERB GROUP RESOURCE[/SUB] [NAMESPACE/]NAME [FIELDS]" or
// "VERB /path"; "-" stands for nothing.
func ask(u user.Info, text string) authorizer.AttributesRecord {
	w := strings.Fields(text)
	a := authorizer.AttributesRecord{User: u, Verb: w[0]}
	if strings.HasPrefix(w[1], "/") {
		a.Path = w[1]
		return a
	}
	a.ResourceRequest, a.APIVersion = true, "v1"
	if w[1] != "-" {
		a.APIGroup = w[1]
	}
	a.Resource, a.Subresource, _ = strings.Cut(w[2], "/")
	if len(w) > 3 {
		if ns, name, ok := strings.Cut(w[3], "/"); ok {
			a.Namespace, a.Name = ns, name
		} else {
			a.Name = w[3]
		}
	}
	if len(w) > 4 {
		selector, err := fields.ParseSelector(w[4])
		a.FieldSelectorParsingErr = err
		if err == nil {
			a.FieldSelectorRequirements = selector.Requirements()
		}
	}
	return a
}

func someone(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func TestRBAC(t *testing.T) {
	m := func(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	rule := func(groups, resources, verbs string, names ...string) rbacv1.PolicyRule {
		g := strings.Fields(groups)
		for i := range g {
			g[i] = strings.Trim(g[i], "-")
		}
		return rbacv1.PolicyRule{APIGroups: g, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs), ResourceNames: names}
	}
	a := rbacOf(t,
		&rbacv1.ClusterRole{ObjectMeta: m("", "reader"), Rules: []rbacv1.PolicyRule{rule("-", "pods pods/log", "get list watch"), {Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics", "/debug/*"}}}},
		&rbacv1.ClusterRole{ObjectMeta: m("", "scaler"), Rules: []rbacv1.PolicyRule{rule("*", "*/scale", "update")}},
		&rbacv1.Role{ObjectMeta: m("ns", "one"), Rules: []rbacv1.PolicyRule{rule("-", "configmaps", "get update", "mine")}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: m("", "reader"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "readers"}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: m("", "lost"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "lost"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "lost"}}},
		&rbacv1.RoleBinding{ObjectMeta: m("ns", "one"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "one"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}, {Kind: "ServiceAccount", Name: "sa"}, {Kind: "ServiceAccount", Name: "sa", Namespace: "other"}}},
		&rbacv1.RoleBinding{ObjectMeta: m("ns", "scale"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "scaler"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}},
	)
	for _, c := range []struct {
		name, user, group, ask, reason string
		ok                             bool
	}{
		{"a cluster binding holds everywhere", "bob", "readers", "get - pods ns/a", `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`, true},
		{"and in the cluster", "bob", "readers", "list - pods", `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`, true},
		{"subresources are named", "bob", "readers", "get - pods/log ns/a", `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`, true},
		{"and not implied", "bob", "readers", "get - pods/exec ns/a", "", false},
		{"nor are verbs", "bob", "readers", "delete - pods ns/a", "", false},
		{"nor groups", "bob", "readers", "get apps pods ns/a", "", false},
		{"a path", "bob", "readers", "get /metrics", `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`, true},
		{"a path below", "bob", "readers", "get /debug/pprof/heap", `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`, true},
		{"another path", "bob", "readers", "get /metrics/slis", "", false},
		{"a role holds in its namespace", "ann", "x", "get - configmaps ns/mine", `RBAC: allowed by RoleBinding "one/ns" of Role "one" to User "ann"`, true},
		{"and in no other", "ann", "x", "get - configmaps other/mine", "", false},
		{"a name is needed where names are given", "ann", "x", "list - configmaps ns/", "", false},
		{"another name", "ann", "x", "get - configmaps ns/yours", "", false},
		{"a service account of the binding's namespace", "system:serviceaccount:ns:sa", "x", "get - configmaps ns/mine", `RBAC: allowed by RoleBinding "one/ns" of Role "one" to ServiceAccount "sa/"`, true},
		{"a service account of another", "system:serviceaccount:other:sa", "x", "get - configmaps ns/mine", `RBAC: allowed by RoleBinding "one/ns" of Role "one" to ServiceAccount "sa/other"`, true},
		{"a cluster role in a namespace, a subresource of all", "ann", "x", "update apps deployments/scale ns/a", `RBAC: allowed by RoleBinding "scale/ns" of ClusterRole "scaler" to User "ann"`, true},
		{"which is not the resource", "ann", "x", "update apps deployments ns/a", "", false},
		{"a role that is lost", "lost", "x", "get - pods ns/a", `RBAC: clusterrole.rbac.authorization.k8s.io "lost" not found`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, reason, err := a.Authorize(t.Context(), ask(someone(c.user, c.group), c.ask))
			if err != nil || (d == authorizer.DecisionAllow) != c.ok || reason != c.reason {
				t.Errorf("%v %q %v", d, reason, err)
			}
		})
	}
}

func TestBootstrapPolicyIsWhole(t *testing.T) {
	seen := map[string]bool{}
	check := func(kind string, m metav1.ObjectMeta) {
		key := kind + " " + m.Namespace + "/" + m.Name
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if m.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" || m.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("%s is not marked", key)
		}
	}
	for _, r := range auth.ClusterRoles() {
		check("ClusterRole", r.ObjectMeta)
		if len(r.Rules) == 0 {
			t.Errorf("%s has no rules", r.Name)
		}
		for _, rule := range r.Rules {
			if len(rule.Verbs) == 0 || len(rule.Resources) == 0 && len(rule.NonResourceURLs) == 0 || len(rule.Resources) > 0 && len(rule.APIGroups) == 0 {
				t.Errorf("%s: %v", r.Name, rule)
			}
		}
	}
	for _, r := range auth.Roles() {
		check("Role", r.ObjectMeta)
	}
	for _, b := range auth.ClusterRoleBindings() {
		check("ClusterRoleBinding", b.ObjectMeta)
		if !seen["ClusterRole /"+b.RoleRef.Name] {
			t.Errorf("%s binds %s, which there is not", b.Name, b.RoleRef.Name)
		}
	}
	for _, b := range auth.RoleBindings() {
		check("RoleBinding", b.ObjectMeta)
		if !seen["Role "+b.Namespace+"/"+b.RoleRef.Name] {
			t.Errorf("%s binds %s, which there is not", b.Name, b.RoleRef.Name)
		}
	}
}

func TestEveryIdentityCanDoItsWorkAndNoMore(t *testing.T) {
	a := bootstrapped(t)
	for who, rights := range map[string]struct{ may, mayNot []string }{
		"system:kube-scheduler": {
			[]string{"create - pods/binding ns/a", "list - nodes", "watch - pods", "patch - pods/status ns/a", "create - events ns/", "update coordination.k8s.io leases kube-system/kube-scheduler", "create coordination.k8s.io leases kube-system/", "list storage.k8s.io csinodes", "create events.k8s.io events ns/", "get /api"},
			[]string{"create - pods ns/", "get - secrets ns/a", "update - nodes a", "update coordination.k8s.io leases kube-system/other"},
		},
		"system:kube-controller-manager": {
			[]string{"create - pods ns/", "delete - pods ns/a", "update apps deployments/status ns/a", "create apps replicasets ns/", "update - namespaces/finalize a", "deletecollection - pods ns/", "create - serviceaccounts ns/", "update - nodes/status a", "update coordination.k8s.io leases kube-system/x", "create - configmaps ns/", "update - endpoints ns/a", "create discovery.k8s.io endpointslices ns/", "get apps deployments/scale ns/a", "patch - pods/status ns/a", "delete - nodes a", "patch - nodes a", "list example.com things"},
			[]string{"create - pods/exec ns/a", "impersonate - users a", "create - namespaces", "bind rbac.authorization.k8s.io clusterroles cluster-admin"},
		},
		"system:kube-proxy": {
			[]string{"list - services", "watch discovery.k8s.io endpointslices", "get - nodes a", "create events.k8s.io events ns/"},
			[]string{"get - secrets ns/a", "update - services ns/a", "list - pods"},
		},
		"system:coredns": {
			[]string{"list - services", "watch discovery.k8s.io endpointslices", "list - namespaces", "list - pods"},
			[]string{"get - secrets ns/a", "create - pods ns/"},
		},
		"anybody": {
			[]string{"get /version", "get /healthz", "get /api", "get /apis/apps/v1", "get /openapi/v2", "create authorization.k8s.io selfsubjectaccessreviews", "create authentication.k8s.io selfsubjectreviews"},
			[]string{"get - pods ns/a", "get /metrics", "list - namespaces", "create authorization.k8s.io subjectaccessreviews"},
		},
		"system:serviceaccount:kube-system:certificate-controller": {
			[]string{"approve certificates.k8s.io signers -/kubernetes.io/kube-apiserver-client-kubelet", "sign certificates.k8s.io signers -/kubernetes.io/kubelet-serving"},
			[]string{"approve certificates.k8s.io signers -/kubernetes.io/kubelet-serving", "sign certificates.k8s.io signers -/example.com/own"},
		},
		"system:serviceaccount:kube-system:deployment-controller": {
			[]string{"update apps deployments ns/a", "create apps replicasets ns/", "get /api"},
			[]string{"create - pods ns/", "delete apps deployments ns/a"},
		},
	} {
		t.Run(who, func(t *testing.T) {
			for _, q := range rights.may {
				if d, reason, err := a.Authorize(t.Context(), ask(someone(who), q)); d != authorizer.DecisionAllow {
					t.Errorf("may not %s: %s %v", q, reason, err)
				}
			}
			for _, q := range rights.mayNot {
				if d, reason, _ := a.Authorize(t.Context(), ask(someone(who), q)); d == authorizer.DecisionAllow {
					t.Errorf("may %s: %s", q, reason)
				}
			}
		})
	}
	if d, _, _ := a.Authorize(t.Context(), ask(someone("x", user.SystemPrivilegedGroup), "impersonate - users root")); d != authorizer.DecisionAllow {
		t.Error("masters may not everything")
	}
}

func TestUserFacingRolesContainEachOther(t *testing.T) {
	roles := map[string]*rbacv1.ClusterRole{}
	for _, r := range auth.ClusterRoles() {
		roles[r.Name] = r
	}
	has := func(role, q string) bool {
		a := rbacOf(t, roles[role], &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "u"}},
		})
		d, _, _ := a.Authorize(t.Context(), ask(someone("u"), q))
		return d == authorizer.DecisionAllow
	}
	for q, from := range map[string]string{
		"get - pods ns/a": "view", "list apps deployments ns/": "view", "get - pods/log ns/a": "view", "watch networking.k8s.io ingresses ns/": "view", "list events.k8s.io events ns/": "view", "get resource.k8s.io resourceclaims ns/a": "view", "delete resource.k8s.io resourceclaimtemplates ns/a": "edit",
		"get - secrets ns/a": "edit", "create - pods/exec ns/a": "edit", "delete apps deployments ns/a": "edit", "create - serviceaccounts/token ns/a": "edit", "impersonate - serviceaccounts ns/a": "edit", "patch coordination.k8s.io leases ns/a": "edit",
		"create rbac.authorization.k8s.io rolebindings ns/": "admin", "create authorization.k8s.io localsubjectaccessreviews ns/": "admin",
		"update - resourcequotas ns/a": "nobody", "delete - namespaces ns/ns": "nobody", "create - endpoints ns/": "nobody", "escalate rbac.authorization.k8s.io roles ns/a": "nobody",
	} {
		order := []string{"view", "edit", "admin", "nobody"}
		for i, role := range order[:3] {
			if got, want := has(role, q), i >= slices.Index(order, from); got != want {
				t.Errorf("%s: %s %v, want %v", q, role, got, want)
			}
		}
	}
}

func TestNodeAuthorizer(t *testing.T) {
	pods := []corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"},
		Spec: corev1.PodSpec{
			NodeName: "n", ServiceAccountName: "sa", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "init"}}}}}},
			Containers: []corev1.Container{{Env: []corev1.EnvVar{
				{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}},
				{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			}}},
			Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
				{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
				{Name: "eph", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
				{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "proj"}}}}}}},
			},
		},
	}}
	n := &auth.Nodes{Pods: func(_ context.Context, node string) ([]corev1.Pod, error) {
		if node == "n" {
			return pods, nil
		}
		return nil, nil
	}, Request: func(_ context.Context, namespace, name string) (string, error) {
		if namespace == "ns" && name == "req-n" {
			return "n", nil
		}
		return "", fmt.Errorf("%s/%s not found", namespace, name)
	}}
	agent, other := someone("system:node:n", "system:nodes"), someone("system:node:m", "system:nodes")
	for _, c := range []struct {
		ask   string
		mine  bool // the agent of the pod's node
		every bool // any agent
	}{
		{"get - secrets ns/pull", true, false},
		{"get - secrets ns/init", true, false},
		{"watch - secrets ns/env", true, false},
		{"get - secrets ns/vol", true, false},
		{"get - secrets ns/other", false, false},
		{"get - secrets other/vol", false, false},
		{"list - secrets ns/", false, false},
		{"update - secrets ns/vol", false, false},
		{"get - configmaps ns/cm", true, false},
		{"get - configmaps ns/proj", true, false},
		{"get - persistentvolumeclaims ns/claim", true, false},
		{"get - persistentvolumeclaims ns/p-eph", true, false},
		{"get - persistentvolumeclaims/status ns/claim", false, false},
		{"create - serviceaccounts/token ns/sa", true, false},
		{"create - serviceaccounts/token ns/other", false, false},
		{"delete - serviceaccounts ns/sa", false, false},
		{"get - nodes n", true, true},
		{"patch - nodes/status n", true, true},
		{"list - pods", true, true},
		{"update - pods/status ns/p", true, true},
		{"list - services", true, true},
		{"update coordination.k8s.io leases kube-node-lease/n", true, true},
		{"create - events ns/", true, true},
		{"create certificates.k8s.io podcertificaterequests ns/", true, true},
		{"get certificates.k8s.io podcertificaterequests ns/req-n", true, false},
		{"get certificates.k8s.io podcertificaterequests ns/req-other", false, false},
		{"watch certificates.k8s.io podcertificaterequests ns/ spec.nodeName=n", true, false},
		{"list certificates.k8s.io podcertificaterequests ns/ metadata.name=x,spec.nodeName=n", true, false},
		{"list certificates.k8s.io podcertificaterequests ns/", false, false},
		{"watch certificates.k8s.io podcertificaterequests ns/ spec.nodeName!=other", false, false},
		{"update certificates.k8s.io podcertificaterequests/status ns/req-n", false, false},
		{"delete certificates.k8s.io podcertificaterequests ns/req-n", false, false},
		{"delete - nodes n", false, false},
		{"create - pods/exec ns/p", false, false},
		{"get /metrics", false, false},
	} {
		for u, want := range map[user.Info]bool{agent: c.mine, other: c.every, someone("system:node:n"): false, someone("system:node:", "system:nodes"): false} {
			d, reason, err := n.Authorize(t.Context(), ask(u, c.ask))
			if (d == authorizer.DecisionAllow) != want || err != nil {
				t.Errorf("%s by %s: %v %q %v", c.ask, u.GetName(), d, reason, err)
			}
		}
	}
	_, reason, _ := n.Authorize(t.Context(), ask(agent, "get - secrets ns/other"))
	if reason != "no relationship found between node 'n' and this object" {
		t.Errorf("%q", reason)
	}
}

package apiserver_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// as is access over the socket with a token; an empty one is anonymous.
func as(t testing.TB, c *clustertest.Cluster, token string) *restclient.Config {
	t.Helper()
	cfg := restclient.AnonymousClientConfig(access(t, c))
	cfg.BearerToken = token
	return cfg
}

func TestAnonymousRequests(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	r := rawTo(t, as(t, c, ""))
	for path, code := range map[string]int{
		"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200,
		"/api": 401, "/apis": 401, "/metrics": 401, "/": 401, maps: 401, "/openapi/v2": 401, "/healthz/etcd": 401,
	} {
		if a := r.get(path); a.code != code {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	s := r.get(maps).status(t)
	if s.Message != "Unauthorized" || s.Reason != metav1.StatusReasonUnauthorized || s.Code != 401 {
		t.Errorf("%+v", s)
	}
	if a := rawTo(t, as(t, c, "no-such-token")).get("/version"); a.code != 401 {
		t.Errorf("a wrong token is not anonymous: %d %s", a.code, a.body)
	}
}

func TestTokenFileAndMessagesOfRefusals(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(file, []byte("secret-ann,ann,1,\"devs,ops\"\nsecret-root,root,2,\"system:masters\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authentication.TokenFile = file })
	if a := rawTo(t, as(t, c, "secret-root")).get(maps); a.code != 200 {
		t.Errorf("root: %d %s", a.code, a.body)
	}
	r := rawTo(t, as(t, c, "secret-ann"))
	for _, q := range []struct{ method, path, message string }{
		{"GET", maps, `configmaps is forbidden: User "ann" cannot list resource "configmaps" in API group "" in the namespace "default"`},
		{"GET", maps + "/a", `configmaps "a" is forbidden: User "ann" cannot get resource "configmaps" in API group "" in the namespace "default"`},
		{"GET", "/apis/apps/v1/deployments", `deployments.apps is forbidden: User "ann" cannot list resource "deployments" in API group "apps" at the cluster scope`},
		{"GET", "/api/v1/nodes/n", `nodes "n" is forbidden: User "ann" cannot get resource "nodes" in API group "" at the cluster scope`},
		{"GET", "/api/v1/namespaces/default/pods/p/log", `pods "p" is forbidden: User "ann" cannot get resource "pods/log" in API group "" in the namespace "default"`},
		{"GET", maps + "?watch=1", `configmaps is forbidden: User "ann" cannot watch resource "configmaps" in API group "" in the namespace "default"`},
		{"GET", "/metrics", `forbidden: User "ann" cannot get path "/metrics"`},
	} {
		a := r.do(q.method, q.path, "")
		if s := a.status(t); a.code != 403 || s.Message != q.message || s.Reason != metav1.StatusReasonForbidden {
			t.Errorf("%s: %d %s", q.path, a.code, a.body)
		}
	}
}

func TestImpersonation(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	r := rawTo(t, access(t, c))
	self := "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	var who authenticationv1.SelfSubjectReview
	r.do("POST", self, `{}`).into(t, &who)
	if u := who.Status.UserInfo; u.Username != "kubernetes-admin" || strings.Join(u.Groups, " ") != "system:masters system:authenticated" {
		t.Errorf("%+v", u)
	}
	r.do("POST", self, `{}`, "Impersonate-User", "bob", "Impersonate-Group", "devs", "Impersonate-Extra-Scopes", "view").into(t, &who)
	if u := who.Status.UserInfo; u.Username != "bob" || strings.Join(u.Groups, " ") != "devs system:authenticated" || u.Extra["scopes"][0] != "view" {
		t.Errorf("%+v", u)
	}
	r.do("POST", self, `{}`, "Impersonate-User", "system:serviceaccount:ns:sa").into(t, &who)
	if u := who.Status.UserInfo; strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:ns system:authenticated" {
		t.Errorf("%+v", u)
	}
	if a := r.get(maps, "Impersonate-User", "bob"); a.code != 403 || !strings.Contains(string(a.body), `User \"bob\" cannot list`) {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := r.get(maps, "Impersonate-Group", "devs"); a.code != 500 && a.code != 400 {
		t.Errorf("groups without a user: %d %s", a.code, a.body)
	}
	bob := rawTo(t, c.As("bob"))
	if a := bob.get(maps, "Impersonate-User", "ann"); a.code != 403 || a.status(t).Message != `configmaps is forbidden: User "bob" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "default"` {
		t.Errorf("%d %s", a.code, a.body)
	}
}

func TestServiceAccountTokens(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	k, ctx := clientset(t, access(t, c)), t.Context()
	sa := account(t, k, "default")
	p, err := k.CoreV1().Pods("default").Create(ctx, pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
		return k.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	}
	r, err := token(authenticationv1.TokenRequestSpec{})
	if err != nil || *r.Spec.ExpirationSeconds != 3600 || r.Status.Token == "" || r.Spec.Audiences[0] != "https://kubernetes.default.svc.cluster.local" {
		t.Fatalf("%v %+v", err, r)
	}
	me := clientset(t, as(t, c, r.Status.Token))
	who, err := me.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" || who.Status.UserInfo.UID != string(sa.UID) {
		t.Errorf("%v %+v", err, who)
	}
	if _, err := me.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
	bound, err := token(authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: p.UID}})
	if err != nil {
		t.Fatal(err)
	}
	review := func(tok string) authenticationv1.TokenReviewStatus {
		t.Helper()
		v, err := k.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: tok}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return v.Status
	}
	if st := review(bound.Status.Token); !st.Authenticated || st.User.Extra["authentication.kubernetes.io/pod-name"][0] != "p" {
		t.Errorf("%+v", st)
	}
	if err := k.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if st := review(bound.Status.Token); st.Authenticated {
			return fmt.Errorf("the token of a pod that is gone: %+v", st)
		}
		return nil
	})
	for _, q := range []struct {
		name string
		spec authenticationv1.TokenRequestSpec
		err  string
	}{
		{"too short", authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](10)}, `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes`},
		{"a pod that is not there", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "none"}}, `pods "none" not found`},
		{"another kind", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "x"}}, `cannot bind token to object of type apps/v1, Kind=Deployment`},
	} {
		t.Run(q.name, func(t *testing.T) {
			if _, err := token(q.spec); err == nil || err.Error() != q.err {
				t.Errorf("%v", err)
			}
		})
	}
	if err := k.CoreV1().ServiceAccounts("default").Delete(ctx, "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := me.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the account is gone: %w", err)
		}
		return nil
	})
}

func TestAccessReviews(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	if _, err := k.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: named("viewers"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "viewers"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ann := clientset(t, c.As("ann", "viewers", "system:authenticated"))
	pods := func(verb string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Namespace: "default", Verb: verb, Resource: "pods"}
	}
	eventually(t, func() error {
		r, err := ann.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("list")}}, metav1.CreateOptions{})
		if err != nil || !r.Status.Allowed || r.Status.Reason != `RBAC: allowed by RoleBinding "viewers/default" of ClusterRole "view" to Group "viewers"` {
			return fmt.Errorf("%w %+v", err, r)
		}
		return nil
	})
	if _, err := ann.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	r, err := ann.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("delete")}}, metav1.CreateOptions{})
	if err != nil || r.Status.Allowed || r.Status.Denied {
		t.Errorf("%v %+v", err, r)
	}
	s, err := k.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "x", Groups: []string{"viewers"}, ResourceAttributes: pods("get")}}, metav1.CreateOptions{})
	if err != nil || !s.Status.Allowed {
		t.Errorf("%v %+v", err, s)
	}
	l, err := k.AuthorizationV1().LocalSubjectAccessReviews("default").Create(ctx, &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "x", ResourceAttributes: pods("get")}}, metav1.CreateOptions{})
	if err != nil || l.Status.Allowed {
		t.Errorf("%v %+v", err, l)
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || rules.Status.Incomplete || len(rules.Status.ResourceRules) < 10 || len(rules.Status.NonResourceRules) == 0 {
		t.Errorf("%v %+v", err, rules)
	}
	if _, err := k.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "x"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("%v", err)
	}
}

func TestNobodyGivesRightsThatHeHasNot(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), context.Background()
	rule := func(resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: verbs}
	}
	if _, err := k.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: named("admin"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ann"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ann := clientset(t, c.As("ann"))
	eventually(t, func() error {
		_, err := ann.RbacV1().Roles("default").Create(ctx, &rbacv1.Role{ObjectMeta: named("fine"), Rules: []rbacv1.PolicyRule{rule("pods", "get", "list")}}, metav1.CreateOptions{})
		return err
	})
	_, err := ann.RbacV1().Roles("default").Create(ctx, &rbacv1.Role{ObjectMeta: named("more"), Rules: []rbacv1.PolicyRule{rule("nodes", "get", "list"), rule("pods", "get")}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || err.Error() != `roles.rbac.authorization.k8s.io "more" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}` {
		t.Errorf("%v", err)
	}
	_, err = ann.RbacV1().Roles("default").Patch(ctx, "fine", types.MergePatchType, []byte(`{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`), metav1.PatchOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
	if _, err = ann.RbacV1().Roles("default").Patch(ctx, "fine", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("a label: %v", err)
	}
	bind := func(role string) error {
		_, err := ann.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: named(role), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}},
		}, metav1.CreateOptions{})
		return err
	}
	if err := bind("view"); err != nil {
		t.Errorf("what she has: %v", err)
	}
	if err := bind("cluster-admin"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `rolebindings.rbac.authorization.k8s.io "cluster-admin" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:`) {
		t.Errorf("%v", err)
	}
	if err := bind("none"); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestNodesChangeOnlyWhatIsTheirs(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	account(t, k, "default")
	mine := clientset(t, c.As("system:node:mine", "system:nodes", "system:authenticated"))
	for _, n := range []string{"mine", "other"} {
		if _, err := k.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p := pod("on-" + n)
		p.Spec.NodeName = n
		if _, err := k.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	status := func(p string) error {
		_, err := mine.CoreV1().Pods("default").Patch(ctx, p, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
		return err
	}
	tokenFor := func(p string) error {
		got, err := k.CoreV1().Pods("default").Get(ctx, p, metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = mine.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p, UID: got.UID},
		}}, metav1.CreateOptions{})
		return err
	}
	label := func(node, key string) error {
		_, err := mine.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:"x"}}}`, key), metav1.PatchOptions{})
		return err
	}
	// Its rights follow from its pods as the server's cache has them.
	eventually(t, func() error {
		_, err := mine.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	for _, q := range []struct {
		name string
		err  error
		want string
	}{
		{"the status of its pod", status("on-mine"), ""},
		{"of another's", status("on-other"), `pods "on-other" is forbidden: node "mine" can only update pod status for pods with spec.nodeName set to itself`},
		{"a token for its pod", tokenFor("on-mine"), ""},
		{"for another's", tokenFor("on-other"), `serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node`},
		{"a label of its own", label("mine", "example.com/a"), ""},
		{"a label that keeps pods away", label("mine", "node-restriction.kubernetes.io/a"), `nodes "mine" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a`},
		{"another node", label("other", "example.com/a"), `nodes "other" is forbidden: node "mine" is not allowed to modify node "other"`},
		{"a pod of its own making", func() error {
			_, err := mine.CoreV1().Pods("default").Create(ctx, pod("new"), metav1.CreateOptions{})
			return err
		}(), `pods "new" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "mine" can only create mirror pods`},
		{"the end of its pod", mine.CoreV1().Pods("default").Delete(ctx, "on-mine", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}), ""},
		{"of another's pod", mine.CoreV1().Pods("default").Delete(ctx, "on-other", metav1.DeleteOptions{}), `pods "on-other" is forbidden: node "mine" can only delete pods with spec.nodeName set to itself`},
	} {
		t.Run(q.name, func(t *testing.T) {
			if q.want == "" && q.err != nil || q.want != "" && (q.err == nil || q.err.Error() != q.want) {
				t.Errorf("%v", q.err)
			}
		})
	}
	if _, err := mine.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
}

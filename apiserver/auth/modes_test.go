package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// deciders let agents do all and by RBAC the group readers read.
func deciders(t *testing.T) auth.Deciders {
	t.Helper()
	return auth.Deciders{
		Node: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if strings.HasPrefix(a.GetUser().GetName(), "system:node:") {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
		RBAC: rbacOf(t,
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "readers"}}},
		),
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		modes             string
		node, reader, bob authorizer.Decision
	}{
		{"", authorizer.DecisionAllow, authorizer.DecisionAllow, authorizer.DecisionNoOpinion},
		{"Node RBAC", authorizer.DecisionAllow, authorizer.DecisionAllow, authorizer.DecisionNoOpinion},
		{"RBAC", authorizer.DecisionNoOpinion, authorizer.DecisionAllow, authorizer.DecisionNoOpinion},
		{"RBAC AlwaysAllow", authorizer.DecisionAllow, authorizer.DecisionAllow, authorizer.DecisionAllow},
		{"AlwaysDeny", authorizer.DecisionNoOpinion, authorizer.DecisionNoOpinion, authorizer.DecisionNoOpinion},
	} {
		t.Run("modes "+c.modes, func(t *testing.T) {
			a, err := auth.Authorization{Modes: strings.Fields(c.modes)}.New(deciders(t))
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]authorizer.Decision{"system:node:a": c.node, "reader": c.reader, "bob": c.bob} {
				group := "x"
				if name == "reader" {
					group = "readers"
				}
				if got, reason, err := a.Authorize(t.Context(), ask(someone(name, group), "get - pods ns/a")); got != want || err != nil {
					t.Errorf("%s: %v %s %v", name, got, reason, err)
				}
			}
		})
	}
}

func TestModesThatCanNotBe(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"
	with := func(text string) auth.Authorization {
		return auth.Authorization{ConfigFile: file(t, "authz.yaml", text)}
	}
	for _, c := range []struct {
		name string
		a    auth.Authorization
		want string
	}{
		{"a mode that is unknown", auth.Authorization{Modes: []string{"RBAC", "Magic"}}, `authorization-mode "Magic" is not a valid mode`},
		{"a mode that is not served", auth.Authorization{Modes: []string{"ABAC"}}, `authorization-mode "ABAC" is not served here: use RBAC`},
		{"a mode twice", auth.Authorization{Modes: []string{"RBAC", "RBAC"}}, `authorization-mode ["RBAC" "RBAC"] has mode specified more than once`},
		{"a webhook that nobody named", auth.Authorization{Modes: []string{"Webhook"}}, "authorization-mode Webhook's authorization config file not passed"},
		{"a webhook that nobody asks", auth.Authorization{Webhook: auth.AccessWebhook{ConfigFile: "x"}}, "cannot specify --authorization-webhook-config-file without mode Webhook"},
		{"a webhook whose kubeconfig is not there", auth.Authorization{Modes: []string{"Webhook"}, Webhook: auth.AccessWebhook{ConfigFile: "/none"}}, "--authorization-webhook-config-file: kubeconfig /none"},
		{"flags and a file", auth.Authorization{Modes: []string{"RBAC"}, ConfigFile: "x"}, "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"},
		{"a file that is not there", auth.Authorization{ConfigFile: "/none"}, "--authorization-config: open /none: no such file or directory"},
		{"a file without authorizers", with(head), "authorizers: Required value: at least one authorization mode must be defined"},
		{"a field that there is not", with(head + "authorizer: []\n"), `unknown field "authorizer"`},
		{"a type that is unknown", with(head + "authorizers: [{type: Magic, name: m}]\n"), `authorizers[0].type: Unsupported value: "Magic"`},
		{"an expression that is none", with(head + "authorizers: [{type: Webhook, name: w, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: InClusterConfig}, matchConditions: [{expression: 'request.'}]}}]\n"), "matchConditions[0].expression: Invalid value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.a.New(deciders(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// judge answers SubjectAccessReviews: ann may, bob may not, of others it has no
// opinion.
func judge(t *testing.T) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var v authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil || v.Spec.User == "crash" {
			http.Error(w, fmt.Sprint(err), http.StatusTeapot)
			return
		}
		v.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: v.Spec.User == "ann", Denied: v.Spec.User == "bob", Reason: "the judge says so"}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(s.Close)
	return s, &asked
}

func TestAnAccessWebhookBesideRBAC(t *testing.T) {
	s, asked := judge(t)
	a, err := auth.Authorization{Modes: []string{"Webhook", "RBAC"}, Webhook: auth.AccessWebhook{ConfigFile: kubeconfig(t, s), Version: "v1"}}.New(deciders(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who    string
		want   authorizer.Decision
		reason string
	}{
		{"ann", authorizer.DecisionAllow, "the judge says so"},
		{"ann", authorizer.DecisionAllow, "the judge says so"},
		{"bob", authorizer.DecisionDeny, "the judge says so"},
		{"eve", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`},
		{"crash", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "readers"`},
	} {
		if d, reason, err := a.Authorize(t.Context(), ask(someone(c.who, "readers"), "get - pods ns/a")); d != c.want || reason != c.reason || err != nil {
			t.Errorf("%s: %v %q %v", c.who, d, reason, err)
		}
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
	if _, _, incomplete, err := a.RulesFor(t.Context(), someone("ann", "readers"), "ns"); !incomplete || err == nil || !strings.Contains(err.Error(), "webhook authorizer does not support user rule resolution") {
		t.Errorf("%v %v", incomplete, err)
	}
}

func TestAuthorizationConfiguration(t *testing.T) {
	s, asked := judge(t)
	config := func(condition, policy string) string {
		return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: judge
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: ` + policy + `
    cacheAuthorizedRequests: false
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: ` + kubeconfig(t, s) + `}
    matchConditions:
    - expression: "` + condition + `"
- {type: RBAC, name: rbac}
`
	}
	path := file(t, "authz.yaml", config("request.resourceAttributes.namespace == 'court'", "Deny"))
	a, err := auth.Authorization{ConfigFile: path}.New(deciders(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Follow(ctx) }()
	defer func() { cancel(); <-ended }()
	decide := func(who, question string) authorizer.Decision {
		d, _, _ := a.Authorize(ctx, ask(someone(who), question))
		return d
	}
	if d := decide("ann", "get - pods elsewhere/a"); d != authorizer.DecisionNoOpinion || asked.Load() != 0 {
		t.Errorf("%v, asked %d times", d, asked.Load())
	}
	if d := decide("ann", "get - pods court/a"); d != authorizer.DecisionAllow || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", d, asked.Load())
	}
	if d := decide("crash", "get - pods court/a"); d != authorizer.DecisionDeny {
		t.Errorf("a failure: %v", d)
	}
	rewrite(t, path, config("request.user != 'ann'", "NoOpinion"))
	eventually(t, func() error {
		if d := decide("crash", "get - pods court/a"); d != authorizer.DecisionNoOpinion {
			return fmt.Errorf("the change is not in force: %v", d)
		}
		return nil
	})
	if d := decide("ann", "get - pods court/a"); d != authorizer.DecisionNoOpinion {
		t.Errorf("%v", d)
	}
	rewrite(t, path, "nonsense")
	if d := decide("bob", "get - pods court/a"); d != authorizer.DecisionDeny {
		t.Errorf("a malformed file is in force: %v", d)
	}
}

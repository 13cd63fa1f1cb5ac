package apiserver_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/flowcontrol"
	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
)

func TestRequestsAreSharedOutFairly(t *testing.T) {
	c := socket(t, func(cfg *cluster.Config) {
		cfg.APIServer = apiserver.Config{MaxRequestsInFlight: 8, MaxMutatingInFlight: 8}
	})
	ctx, k, api := t.Context(), clientset(t, c.RESTConfig()), rawTo(t, access(t, c))
	var schemas *flowcontrolv1.FlowSchemaList
	eventually(t, func() (err error) {
		if schemas, err = k.FlowcontrolV1().FlowSchemas().List(ctx, metav1.ListOptions{}); err == nil && len(schemas.Items) != 11 {
			err = fmt.Errorf("%d flow schemas", len(schemas.Items))
		}
		return err
	})
	uids := map[string]types.UID{}
	for _, s := range schemas.Items {
		uids[s.Name] = s.UID
	}
	eventually(t, func() error {
		a := api.get("/api/v1/namespaces")
		if got := a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); got != string(uids["exempt"]) {
			return fmt.Errorf("flow schema %q, want %q", got, uids["exempt"])
		}
		return nil
	})
	eventually(t, func() error {
		s, err := k.FlowcontrolV1().FlowSchemas().Get(ctx, "global-default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(s.Status.Conditions) != 1 || s.Status.Conditions[0].Type != flowcontrolv1.FlowSchemaConditionDangling || s.Status.Conditions[0].Status != flowcontrolv1.ConditionFalse {
			return fmt.Errorf("%+v", s.Status)
		}
		return nil
	})
	body := string(api.get("/metrics").body)
	for _, name := range []string{"apiserver_flowcontrol_dispatched_requests_total", "apiserver_flowcontrol_nominal_limit_seats", "apiserver_flowcontrol_current_executing_requests"} {
		if !strings.Contains(body, name) {
			t.Errorf("no metric %s", name)
		}
	}
}

// TestFlowWithoutShareIsRefused gives a user nothing.
func TestFlowWithoutShareIsRefused(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(tokens, []byte("secret,bob,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authentication.TokenFile = tokens })
	ctx, k := t.Context(), clientset(t, c.RESTConfig())
	level := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: ptr.To[int32](0), BorrowingLimitPercent: ptr.To[int32](0),
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
		},
	}}
	if _, err := k.FlowcontrolV1().PriorityLevelConfigurations().Create(ctx, level, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bobs := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "bob"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "none"}, MatchingPrecedence: 2,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects: []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "bob"}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
				Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true,
			}},
		}},
	}}
	bobs, err := k.FlowcontrolV1().FlowSchemas().Create(ctx, bobs, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bob"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}},
	}
	if _, err := k.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bob := access(t, c)
	bob.CertData, bob.KeyData, bob.BearerToken = nil, nil, "secret"
	api := rawTo(t, bob)
	eventually(t, func() error {
		a := api.get("/api/v1/namespaces")
		if flow := a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); a.code != http.StatusOK || flow != string(bobs.UID) {
			return fmt.Errorf("%d in flow %q, want %q: %s", a.code, flow, bobs.UID, a.body)
		}
		return nil
	})

	// A level without shares serves one request at a time: this one is slow.
	body, rest := io.Pipe()
	slow, err := http.NewRequestWithContext(ctx, http.MethodPost, api.base+"/api/v1/namespaces/default/configmaps", body)
	if err != nil {
		t.Fatal(err)
	}
	slow.Header.Set("Content-Type", "application/json")
	var group sync.WaitGroup
	defer group.Wait()
	defer func() { _ = rest.Close() }()
	group.Go(func() {
		res, err := api.http.Do(slow)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusCreated {
			t.Errorf("the slow request: %s", res.Status)
		}
	})
	if _, err := rest.Write([]byte(`{"metadata":`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		a := api.get("/api/v1/namespaces")
		if a.code != http.StatusTooManyRequests || !strings.Contains(string(a.body), "Too many requests, please try again later.") || a.header.Get("Retry-After") == "" {
			return fmt.Errorf("%d %v %.100s", a.code, a.header, a.body)
		}
		return nil
	})
	if a := rawTo(t, access(t, c)).get("/api/v1/namespaces"); a.code != http.StatusOK {
		t.Errorf("another user's: %d %s", a.code, a.body)
	}
	if _, err := rest.Write([]byte(`{"name":"slow"}}`)); err != nil {
		t.Fatal(err)
	}
	_ = rest.Close()
}

func TestFlowsThatAreAlwaysTheSame(t *testing.T) {
	c := socket(t, nil)
	ctx, k := t.Context(), clientset(t, c.RESTConfig())
	eventually(t, func() error {
		_, err := k.FlowcontrolV1().FlowSchemas().Get(ctx, "global-default", metav1.GetOptions{})
		return err
	})
	_, err := k.FlowcontrolV1().PriorityLevelConfigurations().Patch(ctx, "catch-all", types.MergePatchType, []byte(`{"spec":{"limited":{"nominalConcurrencyShares":7}}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec of 'catch-all' must equal the fixed value") {
		t.Error(err)
	}
	if _, err := k.FlowcontrolV1().PriorityLevelConfigurations().Patch(ctx, "exempt", types.MergePatchType, []byte(`{"spec":{"exempt":{"nominalConcurrencyShares":7}}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	_, err = k.FlowcontrolV1().PriorityLevelConfigurations().Patch(ctx, "exempt", types.MergePatchType, []byte(`{"spec":{"type":"Limited"}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value") {
		t.Error(err)
	}
}

func TestFairnessCanBeSwitchedOff(t *testing.T) {
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.NoPriorityAndFairness = true })
	api := rawTo(t, access(t, c))
	for range 3 {
		if a := api.get("/api/v1/namespaces"); a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != "" {
			t.Error("a flow schema matched")
		}
	}
}

func TestBootstrapFlowObjectsAreValid(t *testing.T) {
	for _, f := range append(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas...) {
		kindtest.Errors(t, flowcontrol.FlowSchema.Validate(f))
	}
	for _, p := range append(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations...) {
		kindtest.Errors(t, flowcontrol.PriorityLevelConfiguration.Validate(p))
	}
}

package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestWhatIsNotThereIsNotFound: with nothing of our own in the answer, as the
// list of paths that there are would be.
func TestWhatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	api := rawTo(t, clustertest.With(t, cluster.Config{Without: onlyAPI}).RESTConfig())
	for _, path := range []string{"/nothing", "/apis/nothing.example.com/v1", "/swagger.json"} {
		if got := api.get(path); got.code != http.StatusNotFound || strings.TrimSpace(string(got.body)) != "404 page not found" {
			t.Errorf("%s: %d %q", path, got.code, got.body)
		}
	}
	for path, code := range map[string]int{"/openapi/v3/nothing": http.StatusNotFound, "/openapi/v3/apis/nothing/v1": http.StatusNotFound, "/openapi/v3/apis/node.k8s.io/v1": http.StatusOK} {
		if got := api.get(path); got.code != code {
			t.Errorf("%s: %d, not %d", path, got.code, code)
		}
	}
}

func TestAWatchMayBeginWithoutWhatExists(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.With(t, cluster.Config{Without: onlyAPI}).RESTConfig())
	maps := k.CoreV1().ConfigMaps("default")
	named := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "test"}}}
	}
	old, err := maps.Create(t.Context(), named("old"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The watch is of what the cache has, which this waits for.
	if _, err := maps.List(t.Context(), metav1.ListOptions{ResourceVersion: old.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := maps.Watch(ctx, metav1.ListOptions{
		LabelSelector: "of=test", ResourceVersion: "0", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, SendInitialEvents: ptr.To(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := maps.Create(t.Context(), named("new"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e, ok := <-w.ResultChan()
	if m, is := e.Object.(*corev1.ConfigMap); !ok || !is || m.Name != "new" {
		t.Errorf("the first event is %+v", e)
	}
}

func TestAdministratorsAccessIsForLabelledNamespaces(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.With(t, cluster.Config{Without: onlyAPI}).RESTConfig())
	ctx := t.Context()
	claim := func(admin bool) resourcev1.ResourceClaimSpec {
		return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "a", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AdminAccess: &admin}},
		}}}
	}
	const refused = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
	create := func(namespace, name string, admin bool) (*resourcev1.ResourceClaim, error) {
		return k.ResourceV1().ResourceClaims(namespace).Create(ctx, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: claim(admin)}, metav1.CreateOptions{})
	}
	if _, err := create("default", "all", true); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), refused) {
		t.Errorf("a claim: %v", err)
	}
	template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: claim(true)}}
	if _, err := k.ResourceV1().ResourceClaimTemplates("default").Create(ctx, template, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), refused) {
		t.Errorf("a template: %v", err)
	}
	c, err := create("default", "one", false)
	if err != nil {
		t.Fatal(err)
	}
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Request: "a", Driver: "d.example.com", Pool: "p", Device: "d", AdminAccess: ptr.To(true)},
	}}}
	if _, err := k.ResourceV1().ResourceClaims("default").UpdateStatus(ctx, c, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "status.allocation.devices.results[0].adminAccess: Forbidden") {
		t.Errorf("an allocation: %v", err)
	}
	labelled := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "admins", Labels: map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}}}
	if _, err := k.CoreV1().Namespaces().Create(ctx, labelled, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := create("admins", "all", true); err != nil {
		t.Errorf("where it is allowed: %v", err)
	}
}

func TestTokenRequestsAreForTheAccountOfTheirPath(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	k := clientset(t, access(t, c))
	account(t, k, "default")
	for _, r := range []struct {
		name    string
		request authenticationv1.TokenRequest
		want    string
	}{
		{"no other account's", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, `TokenRequest.authentication.k8s.io "default" is invalid: metadata.name: Invalid value: "other": must match the service account name if specified`},
		{"no account's before", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "wrong"}}, "the UID in the token request (wrong) does not match the UID of the service account ("},
		{"not too short", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](5)}}, `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes`},
		{"a secret of any version", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", Name: "none"}}}, `secrets "none" not found`},
	} {
		t.Run(r.name, func(t *testing.T) {
			_, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &r.request, metav1.CreateOptions{})
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("%v, not %s", err, r.want)
			}
		})
	}
	got, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.UID == "" || got.Status.Token == "" || ptr.Deref(got.Spec.ExpirationSeconds, 0) != 3600 || len(got.Spec.Audiences) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestAVerdictIsNoCertificate(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.With(t, cluster.Config{Without: onlyAPI}).RESTConfig())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	requests := k.CertificatesV1().CertificateSigningRequests()
	r, err := requests.Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "mine"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: "example.com/any",
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	r.Status.Certificate = []byte("none")
	r, err = requests.UpdateApproval(t.Context(), r.Name, r, metav1.UpdateOptions{})
	if err != nil || len(r.Status.Certificate) > 0 || len(r.Status.Conditions) != 1 {
		t.Errorf("%v: %+v", err, r)
	}
}

package apiserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/pki"
)

const self = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

// whoami is what 'kubectl auth whoami' shows: name and groups.
func whoami(t *testing.T, r *raw, headers ...string) string {
	t.Helper()
	a := r.do("POST", self, `{}`, headers...)
	if a.code != http.StatusCreated {
		return fmt.Sprint(a.code)
	}
	var who authenticationv1.SelfSubjectReview
	a.into(t, &who)
	return who.Status.UserInfo.Username + " " + strings.Join(who.Status.UserInfo.Groups, ",")
}

func tokenReview(t *testing.T, k *kubernetes.Clientset, token string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	v, err := k.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v.Status
}

func put(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordsOverTheSocket(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("pass"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := put(t, filepath.Join(t.TempDir(), "users"), []byte("ann:"+string(hash)+":devs\n"))
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authentication.BasicFile = path })
	cfg := as(t, c, "")
	cfg.Username, cfg.Password = "ann", "pass"
	if got := whoami(t, rawTo(t, cfg)); got != "ann devs,system:authenticated" {
		t.Errorf("%q", got)
	}
	cfg.Password = "wrong"
	for name, r := range map[string]*raw{"a wrong password": rawTo(t, cfg), "no password": rawTo(t, as(t, c, ""))} {
		a := r.get("/api/v1/nodes")
		if a.code != http.StatusUnauthorized || a.status(t).Reason != metav1.StatusReasonUnauthorized {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
		if asked := a.header.Get("WWW-Authenticate"); asked != `Basic realm="kubernetes-master"` {
			t.Errorf("%s is answered with the challenge %q", name, asked)
		}
	}
	if a := rawTo(t, cfg).get("/version"); a.code != http.StatusUnauthorized {
		t.Errorf("a wrong password is not anonymous: %d %s", a.code, a.body)
	}
	if a := rawTo(t, as(t, socket(t, nil), "")).get("/api/v1/nodes"); a.code != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a password is asked for where none is accepted: %d %v", a.code, a.header)
	}
}

func TestBootstrapTokensOverTheSocket(t *testing.T) {
	t.Parallel()
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authentication.BootstrapTokens = true })
	k := clientset(t, access(t, c))
	const token = "abcdef.0123456789abcdef"
	if _, err := k.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token",
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := whoami(t, rawTo(t, as(t, c, token))); got != "system:bootstrap:abcdef system:bootstrappers,system:authenticated" {
		t.Errorf("%q", got)
	}
	if st := tokenReview(t, k, token); !st.Authenticated || st.User.Username != "system:bootstrap:abcdef" || st.Audiences[0] != "https://kubernetes.default.svc.cluster.local" {
		t.Errorf("%+v", st)
	}
	if st := tokenReview(t, k, token, "other"); st.Authenticated {
		t.Errorf("for others: %+v", st)
	}
	if err := k.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-abcdef", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := whoami(t, rawTo(t, as(t, c, token))); got != "401" {
			return fmt.Errorf("a token that was taken back: %q", got)
		}
		return nil
	})
}

// authority signs certificates for tests.
func authority(t *testing.T) *pki.Store {
	t.Helper()
	s, err := pki.Open("", clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withCertificate is access by a client certificate.
func withCertificate(t *testing.T, c *clustertest.Cluster, s *pki.Store, user string, groups ...string) *raw {
	t.Helper()
	leaf, err := s.Client(user, user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := as(t, c, "")
	cfg.CertData, cfg.KeyData = leaf.Current().Cert, leaf.Current().Key
	return rawTo(t, cfg)
}

func TestAFrontProxySpeaksForOthers(t *testing.T) {
	t.Parallel()
	proxies, strangers := authority(t), authority(t)
	c := socket(t, func(cfg *cluster.Config) {
		o := &cfg.APIServer.Authentication.RequestHeader
		o.ClientCAFile = put(t, filepath.Join(t.TempDir(), "ca.crt"), proxies.CA())
		o.AllowedNames, o.UsernameHeaders, o.GroupHeaders, o.ExtraHeaderPrefixes, o.UIDHeaders = []string{"front"}, []string{"X-Remote-User"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"}, []string{"X-Remote-Uid"}
	})
	says := []string{"X-Remote-User", "ann", "X-Remote-Group", "devs", "X-Remote-Extra-Scopes", "view", "X-Remote-Uid", "7"}
	front := withCertificate(t, c, proxies, "front")
	var who authenticationv1.SelfSubjectReview
	front.do("POST", self, `{}`, says...).into(t, &who)
	if u := who.Status.UserInfo; u.Username != "ann" || u.UID != "7" || strings.Join(u.Groups, ",") != "devs,system:authenticated" || u.Extra["scopes"][0] != "view" {
		t.Errorf("%+v", u)
	}
	for name, r := range map[string]*raw{
		"a proxy of another name": withCertificate(t, c, proxies, "other"), "another's certificate": withCertificate(t, c, strangers, "front"), "no certificate": rawTo(t, as(t, c, "")),
	} {
		if got := whoami(t, r, says...); got != "401" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := whoami(t, rawTo(t, access(t, c)), says...); got != "kubernetes-admin system:masters,system:authenticated" {
		t.Errorf("headers of a user who is none: %q", got)
	}
}

func TestFurtherClientCAsAreReadAgain(t *testing.T) {
	t.Parallel()
	one, two := authority(t), authority(t)
	path := put(t, filepath.Join(t.TempDir(), "ca.crt"), one.CA())
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authentication.ClientCAFile = path })
	if got := whoami(t, withCertificate(t, c, one, "ann", "devs")); got != "ann devs,system:authenticated" {
		t.Errorf("%q", got)
	}
	if got := whoami(t, withCertificate(t, c, two, "bob")); got != "401" {
		t.Errorf("%q", got)
	}
	put(t, path, append(one.CA(), two.CA()...))
	eventually(t, func() error {
		if got := whoami(t, withCertificate(t, c, two, "bob")); got != "bob system:authenticated" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if got := whoami(t, rawTo(t, access(t, c))); got != "kubernetes-admin system:masters,system:authenticated" {
		t.Errorf("the cluster's own: %q", got)
	}
}

// defaultAccount makes the account that no controller makes here.
func defaultAccount(t *testing.T, k *kubernetes.Clientset) *corev1.ServiceAccount {
	t.Helper()
	if sa, err := k.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}); err == nil {
		return sa
	}
	return account(t, k, "default")
}

// signed is a service-account token, signed by anybody.
func signed(t *testing.T, k *kubernetes.Clientset, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
	t.Helper()
	sa := defaultAccount(t, k)
	claims := jwt.MapClaims{
		"iss": "https://kubernetes.default.svc.cluster.local", "aud": []string{"https://kubernetes.default.svc.cluster.local"},
		"exp": time.Now().Add(time.Hour).Unix(), "sub": "system:serviceaccount:default:default",
		"kubernetes.io": map[string]any{"namespace": "default", "serviceaccount": map[string]string{"name": "default", "uid": string(sa.UID)}},
	}
	if change != nil {
		change(claims)
	}
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func keyFile(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	raw, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return put(t, filepath.Join(t.TempDir(), "sa.key"), raw)
}

// TestServiceAccountKeysAreRotated: tokens of the old key are good as long as
// it is listed, and of no other.
func TestServiceAccountKeysAreRotated(t *testing.T) {
	t.Parallel()
	old, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	next, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(accounts apiserver.ServiceAccounts, do func(k *kubernetes.Clientset)) {
		t.Helper()
		cfg := onDisk(dir)
		cfg.ServiceAccounts = accounts
		s := start(t, cfg)
		do(clientset(t, s.admin()))
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(k *kubernetes.Clientset) string {
		t.Helper()
		defaultAccount(t, k)
		r, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	var first, second string
	run(apiserver.ServiceAccounts{SigningKeyFile: keyFile(t, old)}, func(k *kubernetes.Clientset) { first = issue(k) })
	run(apiserver.ServiceAccounts{SigningKeyFile: keyFile(t, next), KeyFiles: []string{keyFile(t, old)}, MaxLifetime: 20 * time.Minute}, func(k *kubernetes.Clientset) {
		second = issue(k)
		for name, token := range map[string]string{"the old key's": first, "the new key's": second} {
			if st := tokenReview(t, k, token); !st.Authenticated {
				t.Errorf("%s: %+v", name, st)
			}
		}
		r, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](7200)}}, metav1.CreateOptions{})
		if left := time.Until(r.Status.ExpirationTimestamp.Time); err != nil || *r.Spec.ExpirationSeconds != 1200 || left > 20*time.Minute {
			t.Errorf("%v, %d, %s", err, *r.Spec.ExpirationSeconds, left)
		}
	})
	run(apiserver.ServiceAccounts{SigningKeyFile: keyFile(t, next)}, func(k *kubernetes.Clientset) {
		if st := tokenReview(t, k, first); st.Authenticated || st.Error == "" {
			t.Errorf("a key that is no longer listed: %+v", st)
		}
		if st := tokenReview(t, k, second); !st.Authenticated {
			t.Errorf("%+v", st)
		}
	})
}

func TestTokensThatAreNoneAreRefusedOverTheSocket(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	k := clientset(t, access(t, c))
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"forged":             signed(t, k, jwt.SigningMethodES256, stranger, nil),
		"not signed":         signed(t, k, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"of another issuer":  signed(t, k, jwt.SigningMethodES256, stranger, func(c jwt.MapClaims) { c["iss"] = "https://other" }),
		"not a token at all": "abc.def.ghi",
	} {
		if got := whoami(t, rawTo(t, as(t, c, token))); got != "401" {
			t.Errorf("%s: %q", name, got)
		}
		if st := tokenReview(t, k, token); st.Authenticated || st.User.Username != "" {
			t.Errorf("%s: %+v", name, st)
		}
	}
	other, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"other"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := whoami(t, rawTo(t, as(t, c, other.Status.Token))); got != "401" {
		t.Errorf("for another audience: %q", got)
	}
	if st := tokenReview(t, k, other.Status.Token, "other"); !st.Authenticated || st.Audiences[0] != "other" {
		t.Errorf("asked by that audience: %+v", st)
	}
	if st := tokenReview(t, k, other.Status.Token); st.Authenticated || !strings.Contains(st.Error, `token audiences ["other"] is invalid for the target audiences ["https://kubernetes.default.svc.cluster.local"]`) {
		t.Errorf("%+v", st)
	}
}

// TestTokensEnd: what a good key has signed is refused before and after its
// time, and once the account or the secret that it is bound to is gone.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.ServiceAccounts.SigningKeyFile = keyFile(t, key) })
	k := clientset(t, access(t, c))
	sa := defaultAccount(t, k)
	issued, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	genuine, _, err := jwt.NewParser().ParseUnverified(issued.Status.Token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(claim string, when time.Duration) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[claim] = time.Now().Add(when).Unix() }
	}
	for name, x := range map[string]struct {
		change func(jwt.MapClaims)
		fault  string // "" for a good one
	}{
		"in its time":  {nil, ""},
		"expired":      {at("exp", -time.Hour), "service account token has expired"},
		"not good yet": {at("nbf", time.Hour), "service account token is not valid yet"},
		"of an account before": {func(c jwt.MapClaims) {
			c["kubernetes.io"].(map[string]any)["serviceaccount"] = map[string]string{"name": "default", "uid": "other"}
		}, "does not match claim (other)"},
		"bound to a pod that is": {func(c jwt.MapClaims) {
			c["kubernetes.io"].(map[string]any)["pod"] = map[string]string{"name": "gone", "uid": "1"}
		}, "invalidated"},
	} {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{})
		token.Header["kid"] = genuine.Header["kid"]
		for name, v := range genuine.Claims.(jwt.MapClaims) {
			token.Claims.(jwt.MapClaims)[name] = v
		}
		token.Claims.(jwt.MapClaims)["kubernetes.io"] = map[string]any{"namespace": "default", "serviceaccount": map[string]string{"name": "default", "uid": string(sa.UID)}}
		if x.change != nil {
			x.change(token.Claims.(jwt.MapClaims))
		}
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		got, st := whoami(t, rawTo(t, as(t, c, text))), tokenReview(t, k, text)
		if good := x.fault == ""; good != (got != "401") || good != st.Authenticated || !strings.Contains(st.Error, x.fault) {
			t.Errorf("%s: %q, %+v", name, got, st)
		}
	}
}

// TestTokensEndWithWhatTheyAreBoundTo: a token is refused soon after its pod, and
// after its account, is deleted. Kubernetes remembers a good one for ten seconds.
func TestTokensEndWithWhatTheyAreBoundTo(t *testing.T) {
	t.Parallel()
	c := socket(t, nil)
	k := clientset(t, access(t, c))
	account(t, k, "default")
	p, err := k.CoreV1().Pods("default").Create(t.Context(), pod("bound"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(bound *authenticationv1.BoundObjectReference) *raw {
		t.Helper()
		r, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return rawTo(t, as(t, c, r.Status.Token))
	}
	ofPod, ofAccount := issue(&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}), issue(nil)
	const who = "system:serviceaccount:default:default "
	for _, r := range []*raw{ofPod, ofAccount} {
		if got := whoami(t, r); !strings.HasPrefix(got, who) {
			t.Fatalf("before: %q", got)
		}
	}
	ended := func(r *raw) error {
		if got := whoami(t, r); got != "401" {
			return fmt.Errorf("still %q", got)
		}
		return nil
	}
	if err := k.CoreV1().Pods("default").Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return ended(ofPod) })
	if got := whoami(t, ofAccount); !strings.HasPrefix(got, who) {
		t.Errorf("the account's own: %q", got)
	}
	if err := k.CoreV1().ServiceAccounts("default").Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return ended(ofAccount) })
	// Another account of the same name is somebody else.
	account(t, k, "default")
	if got := whoami(t, ofAccount); got != "401" {
		t.Errorf("of an account before: %q", got)
	}
}

// TestImpersonationMayBeConstrained follows KEP-5284: bob may be ann when he
// lists config maps, and nothing else.
func TestImpersonationMayBeConstrained(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	for _, role := range []*rbacv1.ClusterRole{
		{ObjectMeta: metav1.ObjectMeta{Name: "be-ann"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"users"}, ResourceNames: []string{"ann"}, Verbs: []string{"impersonate:user-info"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"impersonate-on:user-info:list"}},
		}},
		{ObjectMeta: metav1.ObjectMeta{Name: "see-maps"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps", "pods"}, Verbs: []string{"list"}}}},
	} {
		if _, err := k.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for who, role := range map[string]string{"bob": "be-ann", "ann": "see-maps"} {
		if _, err := k.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: who}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: who}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	bob := rawTo(t, c.As("bob"))
	eventually(t, func() error {
		if a := bob.get(maps, "Impersonate-User", "ann"); a.code != http.StatusOK {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		return nil
	})
	if a := bob.get("/api/v1/namespaces/default/pods", "Impersonate-User", "ann"); a.code != http.StatusForbidden {
		t.Errorf("another resource: %d %s", a.code, a.body)
	}
	if a := bob.get(maps, "Impersonate-User", "eve"); a.code != http.StatusForbidden {
		t.Errorf("another user: %d %s", a.code, a.body)
	}
	if a := bob.get(maps); a.code != http.StatusForbidden {
		t.Errorf("as himself: %d %s", a.code, a.body)
	}
}

func TestModesOverTheSocket(t *testing.T) {
	t.Parallel()
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Authorization.Modes = []string{"AlwaysAllow"} })
	if a := rawTo(t, c.As("anybody")).get("/api/v1/nodes"); a.code != http.StatusOK {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := rawTo(t, as(t, c, "")).get("/api/v1/nodes"); a.code != http.StatusUnauthorized {
		t.Errorf("without an identity: %d %s", a.code, a.body)
	}
	_, err := apiserver.New(t.Context(), func() apiserver.Config {
		cfg := onDisk(t.TempDir())
		cfg.Authorization.Modes = []string{"RBAC", "Magic"}
		return cfg
	}())
	if err == nil || err.Error() != `authorization-mode "Magic" is not a valid mode` {
		t.Errorf("%v", err)
	}
}

package auth_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// file writes a file and gives its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

// rewrite replaces a file as editors do.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// authenticate puts an authenticator together that keeps up with its files.
func authenticate(t *testing.T, a auth.Authentication) *auth.Authenticator {
	t.Helper()
	if a.Audiences == nil {
		a.Audiences = authenticator.Audiences{issuer}
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, err := a.New(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); out.Follow(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return out
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func hashed(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// login sends a name and a password: "" stands for a refusal.
func login(t *testing.T, a *auth.Authenticator, name, password string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/api", nil).WithContext(t.Context())
	r.SetBasicAuth(name, password)
	res, ok, err := a.Request.AuthenticateRequest(r)
	if !ok || err != nil {
		return ""
	}
	return res.User.GetName() + " " + strings.Join(res.User.GetGroups(), ",")
}

func TestPasswords(t *testing.T) {
	path := file(t, "users", "# people\n\nann:"+hashed(t, "one")+"\ncid:"+strings.Replace(hashed(t, "three"), "$2a$", "$2y$", 1)+"\nbob:"+hashed(t, "two")+":devs, ops\n")
	a := authenticate(t, auth.Authentication{Methods: auth.Methods{BasicFile: path}})
	for _, c := range []struct{ name, user, password, want string }{
		{"the right password", "ann", "one", "ann system:authenticated"},
		{"once more, from memory", "ann", "one", "ann system:authenticated"},
		{"a wrong password", "ann", "two", ""},
		{"a wrong password, from memory", "ann", "two", ""},
		{"groups", "bob", "two", "bob devs,ops,system:authenticated"},
		{"a hash as htpasswd writes it", "cid", "three", "cid system:authenticated"},
		{"nobody", "dan", "one", ""},
		{"no password", "ann", "", ""},
		{"no name", "", "one", ""},
		{"what is remembered is of a name and a password", "annone", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := login(t, a, c.user, c.password); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
	rewrite(t, path, "ann:"+hashed(t, "new")+"\n")
	eventually(t, func() error {
		if got := login(t, a, "ann", "new"); got == "" {
			return fmt.Errorf("the new password is refused")
		}
		return nil
	})
	if login(t, a, "ann", "one") != "" || login(t, a, "bob", "two") != "" {
		t.Error("what was taken away is still good")
	}
	rewrite(t, path, "ann:plain\n")
	rewrite(t, path+"-other", "") // an event that comes after
	if login(t, a, "ann", "new") == "" {
		t.Error("a malformed file put people out")
	}
}

func TestPasswordsThatAreWrongInTheFile(t *testing.T) {
	good := hashed(t, "x")
	for _, c := range []struct{ name, text, want string }{
		{"another hash", "ann:" + good + "\nbob:$apr1$abc$def\n", `line 2: the hash of user "bob" is MD5: only bcrypt is accepted, which 'htpasswd -B' makes`},
		{"SHA-1", "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", `line 1: the hash of user "bob" is SHA-1`},
		{"a password in plain text", "bob:secret\n", `line 1: the hash of user "bob" is plain text or crypt`},
		{"a hash that is cut off", "bob:" + good[:40] + "\n", `line 1: the bcrypt hash of user "bob" is malformed`},
		{"too much work", "bob:$2a$31$" + good[7:] + "\n", `line 1: the bcrypt hash of user "bob" has cost 31: at most 16 is accepted`},
		{"no hash", "# x\nbob\n", `line 2: want name:hash or name:hash:group,group`},
		{"no name", ":" + good + "\n", `line 1: want name:hash or name:hash:group,group`},
		{"a user twice", "bob:" + good + "\nbob:" + good + "\n", `line 2: user "bob" is there twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "users", c.text)
			_, err := auth.Authentication{Methods: auth.Methods{BasicFile: path}}.New(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), "--basic-auth-file "+path+": "+c.want) || strings.Contains(err.Error(), good) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := (auth.Authentication{Methods: auth.Methods{BasicFile: "/none"}}).New(t.Context()); err == nil || err.Error() != "--basic-auth-file: open /none: no such file or directory" {
		t.Errorf("%v", err)
	}
}

func TestBootstrapTokens(t *testing.T) {
	const token = "abcdef.0123456789abcdef"
	for _, c := range []struct {
		name   string
		change func(*corev1.Secret)
		want   string // groups; "" is a refusal
		err    string
	}{
		{name: "a token", want: "system:bootstrappers system:authenticated"},
		{name: "with groups", change: func(s *corev1.Secret) {
			s.Data["auth-extra-groups"] = []byte("system:bootstrappers:kubeadm:default-node-token")
		}, want: "system:bootstrappers system:bootstrappers:kubeadm:default-node-token system:authenticated"},
		{name: "with groups that it may not give", change: func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }, err: "bootstrap group \"system:masters\" is invalid"},
		{name: "not for authentication", change: func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }},
		{name: "another secret", change: func(s *corev1.Secret) { s.Data["token-secret"] = []byte("fedcba9876543210") }},
		{name: "another ID", change: func(s *corev1.Secret) { s.Data["token-id"] = []byte("fedcba") }},
		{name: "another type", change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		{name: "expired", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("2020-01-01T00:00:00Z") }},
		{name: "not yet expired", change: func(s *corev1.Secret) {
			s.Data["expiration"] = []byte(time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		}, want: "system:bootstrappers system:authenticated"},
		{name: "an expiry that can't be read", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("tomorrow") }},
		{name: "being deleted", change: func(s *corev1.Secret) { now := metav1.Now(); s.DeletionTimestamp = &now }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &corev1.Secret{Type: "bootstrap.kubernetes.io/token", Data: map[string][]byte{
				"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			}}
			if c.change != nil {
				c.change(s)
			}
			a := authenticate(t, auth.Authentication{Methods: auth.Methods{BootstrapTokens: true}, Objects: cluster{"secrets/bootstrap-token-abcdef": s}})
			st := auth.Review(t.Context(), a.Token, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, authenticator.Audiences{issuer})
			if c.want == "" {
				c.err = cmp.Or(c.err, "invalid bearer token")
			}
			if st.Authenticated != (c.want != "") || strings.Join(st.User.Groups, " ") != c.want || !strings.Contains(st.Error, c.err) || (c.err == "") != (st.Error == "") {
				t.Errorf("%+v", st)
			}
			if c.want != "" && st.User.Username != "system:bootstrap:abcdef" {
				t.Errorf("%+v", st.User)
			}
		})
	}
	a := authenticate(t, auth.Authentication{Methods: auth.Methods{BootstrapTokens: true}, Objects: cluster{}})
	for _, unknown := range []string{token, "abc", "ABCDEF.0123456789abcdef"} {
		if _, ok, err := a.Token.AuthenticateToken(t.Context(), unknown); ok || err != nil {
			t.Errorf("%s: %v %v", unknown, ok, err)
		}
	}
}

func TestTokensThatKnowNothingOfAudiencesAreForThisServer(t *testing.T) {
	path := file(t, "tokens", "secret,ann,1,\"devs,ops\"\n")
	a := authenticate(t, auth.Authentication{Methods: auth.Methods{TokenFile: path}})
	review := func(audiences ...string) authenticationv1.TokenReviewStatus {
		return auth.Review(t.Context(), a.Token, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "secret", Audiences: audiences}}, authenticator.Audiences{issuer})
	}
	if st := review(); !st.Authenticated || st.User.Username != "ann" || st.User.UID != "1" || !slices.Equal(st.Audiences, []string{issuer}) {
		t.Errorf("%+v", st)
	}
	if st := review("other", issuer); !st.Authenticated || !slices.Equal(st.Audiences, []string{issuer}) {
		t.Errorf("%+v", st)
	}
	if st := review("other"); st.Authenticated {
		t.Errorf("%+v", st)
	}
}

// provider is an issuer of ID tokens.
type provider struct {
	*httptest.Server
	key *ecdsa.PrivateKey
	ca  string // PEM
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(path string, body func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(body())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}
	})
	answer("/keys", func() any {
		point, _ := p.key.PublicKey.Bytes()
		enc := base64.RawURLEncoding.EncodeToString
		return map[string]any{"keys": []map[string]string{{"kty": "EC", "kid": "k", "crv": "P-256", "alg": "ES256", "use": "sig", "x": enc(point[1:33]), "y": enc(point[33:])}}}
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	p.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
	return p
}

// token signs claims beside the usual ones.
func (p *provider) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	c := jwt.MapClaims{"iss": p.URL, "aud": "skiff", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for k, v := range claims {
		c[k] = v
	}
	return forge(t, jwt.SigningMethodES256, p.key, "k", c)
}

// whose is whom a token authenticates; "" stands for nobody.
func whose(t *testing.T, a *auth.Authenticator, token string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/api", nil).WithContext(t.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	res, ok, err := a.Request.AuthenticateRequest(r)
	if !ok || err != nil {
		return ""
	}
	return res.User.GetName() + " " + strings.Join(res.User.GetGroups(), ",")
}

func TestOIDCFlags(t *testing.T) {
	p := newProvider(t)
	for _, c := range []struct {
		name   string
		change func(*auth.OIDC)
		claims jwt.MapClaims
		want   string
	}{
		{name: "the subject", want: p.URL + "#ann system:authenticated"},
		{name: "without prefix", change: func(o *auth.OIDC) { o.UsernamePrefix = "-" }, want: "ann system:authenticated"},
		{name: "an email has no prefix", change: func(o *auth.OIDC) { o.UsernameClaim = "email" }, claims: jwt.MapClaims{"email": "ann@example.com", "email_verified": true}, want: "ann@example.com system:authenticated"},
		{name: "an email that is not verified", change: func(o *auth.OIDC) { o.UsernameClaim = "email" }, claims: jwt.MapClaims{"email": "ann@example.com", "email_verified": false}},
		{name: "groups", change: func(o *auth.OIDC) { o.UsernamePrefix, o.GroupsClaim, o.GroupsPrefix = "oidc:", "groups", "oidc:" }, claims: jwt.MapClaims{"groups": []string{"devs", "ops"}}, want: "oidc:ann oidc:devs,oidc:ops,system:authenticated"},
		{name: "a claim that is required", change: func(o *auth.OIDC) { o.RequiredClaims = map[string]string{"hd": "example.com"} }, claims: jwt.MapClaims{"hd": "example.com"}, want: p.URL + "#ann system:authenticated"},
		{name: "a claim that is missing", change: func(o *auth.OIDC) { o.RequiredClaims = map[string]string{"hd": "example.com"} }},
		{name: "for another client", claims: jwt.MapClaims{"aud": "other"}},
		{name: "expired", claims: jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}},
		{name: "of another issuer", claims: jwt.MapClaims{"iss": "https://other.example.com"}},
		{name: "signed in a way that is not allowed", change: func(o *auth.OIDC) { o.SigningAlgs = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := auth.OIDC{IssuerURL: p.URL, ClientID: "skiff", CAFile: file(t, "ca.crt", p.ca), SigningAlgs: []string{"ES256"}}
			if c.change != nil {
				c.change(&o)
			}
			a := authenticate(t, auth.Authentication{Methods: auth.Methods{OIDC: o}})
			token := p.token(t, c.claims)
			if c.want == "" {
				ready := auth.OIDC{IssuerURL: p.URL, ClientID: "skiff", CAFile: o.CAFile, SigningAlgs: []string{"ES256"}}
				b := authenticate(t, auth.Authentication{Methods: auth.Methods{OIDC: ready}})
				eventually(t, func() error {
					if whose(t, b, p.token(t, nil)) == "" {
						return fmt.Errorf("the keys are not there")
					}
					return nil
				})
				if got := whose(t, a, token); got != "" {
					t.Errorf("%q", got)
				}
				return
			}
			eventually(t, func() error {
				if got := whose(t, a, token); got != c.want {
					return fmt.Errorf("%q", got)
				}
				return nil
			})
		})
	}
}

func TestAuthenticationConfiguration(t *testing.T) {
	p, later := newProvider(t), newProvider(t)
	config := func(p *provider, prefix string) string {
		return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: ` + p.URL + `
    audiences: [skiff, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
      ` + strings.ReplaceAll(strings.TrimSpace(p.ca), "\n", "\n      ") + `
  claimMappings:
    username:
      expression: "'` + prefix + `' + claims.sub"
    groups:
      expression: "claims.?roles.orValue([])"
  claimValidationRules:
  - expression: "claims.?level.orValue(0) < 3"
    message: level is too high
  userValidationRules:
  - expression: "!user.username.startsWith('system:')"
    message: no system users
anonymous:
  enabled: true
  conditions: [{path: /livez}]
`
	}
	path := file(t, "authn.yaml", config(p, "a:"))
	a := authenticate(t, auth.Authentication{Methods: auth.Methods{ConfigFile: path}})
	eventually(t, func() error {
		if got := whose(t, a, p.token(t, jwt.MapClaims{"roles": []string{"devs"}, "aud": "other"})); got != "a:ann devs,system:authenticated" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if got := whose(t, a, p.token(t, jwt.MapClaims{"level": 5})); got != "" {
		t.Errorf("a rule is not followed: %q", got)
	}
	for path, open := range map[string]bool{"/livez": true, "/version": false} {
		if _, ok, _ := a.Request.AuthenticateRequest(httptest.NewRequest(http.MethodGet, path, nil)); ok != open {
			t.Errorf("%s: %v", path, ok)
		}
	}
	rewrite(t, path, config(later, "b:"))
	eventually(t, func() error {
		if got := whose(t, a, later.token(t, nil)); got != "b:ann system:authenticated" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if got := whose(t, a, p.token(t, nil)); got != "" {
		t.Errorf("an issuer that was taken away: %q", got)
	}
}

func TestConfigurationsThatCanNotBe(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	for _, c := range []struct {
		name    string
		methods func(t *testing.T) auth.Methods
		want    string
	}{
		{"half of the flags", func(*testing.T) auth.Methods { return auth.Methods{OIDC: auth.OIDC{IssuerURL: "https://x"}} }, "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"},
		{"an issuer without TLS", func(*testing.T) auth.Methods {
			return auth.Methods{OIDC: auth.OIDC{IssuerURL: "http://x", ClientID: "c"}}
		}, `URL scheme must be https`},
		{"a CA that is not there", func(*testing.T) auth.Methods {
			return auth.Methods{OIDC: auth.OIDC{IssuerURL: "https://x", ClientID: "c", CAFile: "/none"}}
		}, "--oidc-ca-file: open /none: no such file"},
		{"an algorithm that is none", func(*testing.T) auth.Methods {
			return auth.Methods{OIDC: auth.OIDC{IssuerURL: "https://x", ClientID: "c", SigningAlgs: []string{"none"}}}
		}, `oidc: unsupported signing alg: "none"`},
		{"flags and a file", func(t *testing.T) auth.Methods {
			return auth.Methods{ConfigFile: file(t, "a", head), OIDC: auth.OIDC{IssuerURL: "https://x", ClientID: "c"}}
		}, "authentication-config file and oidc-* flags are mutually exclusive"},
		{"a file that is not there", func(*testing.T) auth.Methods { return auth.Methods{ConfigFile: "/none"} }, "--authentication-config: open /none"},
		{"a field that there is not", func(t *testing.T) auth.Methods {
			return auth.Methods{ConfigFile: file(t, "a", head+"jwts: []\n")}
		}, `unknown field "jwts"`},
		{"broken YAML", func(t *testing.T) auth.Methods { return auth.Methods{ConfigFile: file(t, "a", head+"jwt: [\n")} }, "yaml: line 3:"},
		{"another kind", func(t *testing.T) auth.Methods {
			return auth.Methods{ConfigFile: file(t, "a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n")}
		}, "expected AuthenticationConfiguration, got *apiserver.AuthorizationConfiguration"},
		{"an expression that is none", func(t *testing.T) auth.Methods {
			return auth.Methods{ConfigFile: file(t, "a", head+"jwt:\n- issuer: {url: https://x, audiences: [c]}\n  claimMappings: {username: {expression: 'claims.'}}\n")}
		}, "jwt[0].claimMappings.username.expression: Invalid value"},
		{"our own issuer", func(t *testing.T) auth.Methods {
			return auth.Methods{ConfigFile: file(t, "a", head+"jwt:\n- issuer: {url: '"+issuer+"', audiences: [c]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n")}
		}, "URL must not overlap with disallowed issuers"},
		{"anonymous twice", func(t *testing.T) auth.Methods {
			return auth.Methods{NoAnonymous: true, ConfigFile: file(t, "a", head+"anonymous: {enabled: true}\n")}
		}, "anonymous is set, and --anonymous-auth too"},
		{"a webhook without a kubeconfig", func(*testing.T) auth.Methods {
			return auth.Methods{Webhook: auth.TokenWebhook{ConfigFile: "/none"}}
		}, "--authentication-token-webhook-config-file /none:"},
		{"a token file with too few columns", func(t *testing.T) auth.Methods {
			return auth.Methods{TokenFile: file(t, "a", "x,y\n")}
		}, "must have at least 3 columns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := auth.Authentication{Methods: c.methods(t), ServiceAccounts: newTokens(t, cluster{}, newKey(t))}
			if _, err := a.New(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// kubeconfig points a webhook at a server.
func kubeconfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return file(t, "webhook.conf", `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+s.URL+`", certificate-authority-data: "`+ca+`"}}]
users: [{name: u, user: {token: us}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`)
}

func TestATokenWebhookIsAskedOnce(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var v authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil || v.APIVersion != "authentication.k8s.io/v1" || r.Header.Get("Authorization") != "Bearer us" {
			http.Error(w, fmt.Sprint(err, v.APIVersion), http.StatusBadRequest)
			return
		}
		v.Status = authenticationv1.TokenReviewStatus{Authenticated: v.Spec.Token == "good", User: authenticationv1.UserInfo{Username: "ann", UID: "1", Groups: []string{"devs"}, Extra: map[string]authenticationv1.ExtraValue{"a": {"b"}}}}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}))
	defer s.Close()
	a := authenticate(t, auth.Authentication{Methods: auth.Methods{Webhook: auth.TokenWebhook{ConfigFile: kubeconfig(t, s), Version: "v1"}}})
	for range 3 {
		if got := whose(t, a, "good"); got != "ann devs,system:authenticated" {
			t.Errorf("%q", got)
		}
	}
	if got := whose(t, a, "bad"); got != "" {
		t.Errorf("%q", got)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

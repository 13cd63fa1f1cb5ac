package auth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/apiserver/auth"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestOthersCanLearnToCheckTokens follows the way that an OIDC client goes.
func TestOthersCanLearnToCheckTokens(t *testing.T) {
	c := clustertest.APIServer(t)
	h, err := restclient.HTTPClientFor(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	h.Timeout = time.Minute
	get := func(path, contentType string, into any) {
		t.Helper()
		r, err := h.Get(c.RESTConfig().Host + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != contentType {
			t.Fatalf("%s: %v, %s, %s: %s", path, err, r.Status, r.Header.Get("Content-Type"), body)
		}
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	var config struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	get(auth.OIDCPath, "application/json", &config)
	if config.Issuer == "" || config.Keys == "" {
		t.Errorf("configuration %+v", config)
	}
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y string } `json:"keys"`
	}
	get(auth.JWKSPath, "application/jwk-set+json", &set)
	if len(set.Keys) != 1 || set.Keys[0].Kid == "" || len(set.Keys[0].X) != 43 || len(set.Keys[0].Y) != 43 {
		t.Errorf("keys %+v", set.Keys)
	}
}

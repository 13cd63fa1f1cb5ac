package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
)

const (
	// OIDCPath and JWKSPath are where others learn to check tokens of service
	// accounts (OpenID Connect Discovery 1.0; RFC 7517).
	OIDCPath = "/.well-known/openid-configuration"
	JWKSPath = "/openid/v1/jwks"

	// documentAge is how long the documents may be kept, seconds.
	documentAge = 3600
)

// Discovery gives the handlers of both documents; jwksURI is where the keys
// are reached.
func (t *Tokens) Discovery(jwksURI string) (configuration, keys http.Handler, err error) {
	set, algs := []map[string]string{}, map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(t.trusted)) {
		k, err := webKey(t.trusted[id])
		if err != nil {
			return nil, nil, fmt.Errorf("service account key %s: %w", id, err)
		}
		k["kid"], k["use"] = id, "sig"
		set, algs[k["alg"]] = append(set, k), true
	}
	config, err := json.Marshal(map[string]any{
		"issuer": t.Issuers[0], "jwks_uri": jwksURI,
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": slices.Sorted(maps.Keys(algs)),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("OIDC configuration: %w", err)
	}
	body, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		return nil, nil, fmt.Errorf("JSON web keys: %w", err)
	}
	return document("application/json", config), document("application/jwk-set+json", body), nil
}

// webKey is a public key as RFC 7518, 6 writes it.
func webKey(k crypto.PublicKey) (map[string]string, error) {
	m, err := methodOf(k)
	if err != nil {
		return nil, err
	}
	out := map[string]string{"alg": m.Alg()}
	put := func(name string, value []byte) { out[name] = base64.RawURLEncoding.EncodeToString(value) }
	switch k := k.(type) {
	case *rsa.PublicKey:
		out["kty"] = "RSA"
		put("n", k.N.Bytes())
		put("e", big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, then both coordinates
		if err != nil {
			return nil, err
		}
		half := len(point) / 2
		out["kty"], out["crv"] = "EC", k.Curve.Params().Name
		put("x", point[1:1+half])
		put("y", point[1+half:])
	}
	return out, nil
}

func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", documentAge))
		_, _ = w.Write(body) // the client is gone
	})
}

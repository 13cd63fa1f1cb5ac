package auth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
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

// Discovery gives the handlers of both documents; base is where the keys are
// reached, "https://host:port".
func (t *Tokens) Discovery(base string) (configuration, keys http.Handler, err error) {
	config, err := json.Marshal(map[string]any{
		"issuer": t.Issuer, "jwks_uri": base + JWKSPath,
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("OIDC configuration: %w", err)
	}
	set := []map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(t.trusted)) {
		point, err := t.trusted[id].Bytes() // 4, then both coordinates
		if err != nil {
			return nil, nil, fmt.Errorf("service account key %s: %w", id, err)
		}
		half := len(point) / 2
		set = append(set, map[string]string{
			"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256",
			"x": base64.RawURLEncoding.EncodeToString(point[1 : 1+half]), "y": base64.RawURLEncoding.EncodeToString(point[1+half:]),
		})
	}
	body, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		return nil, nil, fmt.Errorf("JSON web keys: %w", err)
	}
	return document("application/json", config), document("application/jwk-set+json", body), nil
}

func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", documentAge))
		_, _ = w.Write(body) // the client is gone
	})
}

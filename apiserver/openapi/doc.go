// Package openapi describes the built-in kinds as OpenAPI: the definitions
// generated from k8s.io/api, documents under /openapi/v2 and /openapi/v3 built
// at their first request, and the type converters that server-side apply
// merges with, built at the first apply to a group.
//
// Reads and writes nothing. `make generate` renews zz_generated.openapi.go.
package openapi

//go:generate ../../hack/update-openapi.sh

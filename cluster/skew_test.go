package cluster_test

import (
	"net/http"
	"strings"
	"testing"

	utilversion "k8s.io/apimachinery/pkg/util/version"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
)

// The rule is https://kubernetes.io/releases/version-skew-policy/#kubelet.
func TestVersionsOfAgents(t *testing.T) {
	c := newMaster(t).start(t, nil)
	k := clientOf(t, c)
	mine := utilversion.MustParseSemantic(apiserver.Version)
	for _, tt := range []struct{ name, version, want string }{
		{"the same", mine.String(), ""},
		{"a later patch of the same", mine.WithPatch(mine.Patch() + 5).String(), ""},
		{"three minor versions older", mine.WithMinor(mine.Minor() - 3).String(), ""},
		{"four minor versions older", mine.WithMinor(mine.Minor() - 4).String(), "it may be at most three minor versions older; upgrade it"},
		{"a newer minor version", mine.WithMinor(mine.Minor() + 1).String(), "it must not be newer; upgrade the masters first"},
		{"another major version", mine.WithMajor(mine.Major() + 1).String(), "it must not be newer"},
		{"none at all", "yesterday's", `version "vyesterday's"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := 0
			raw, err := k.Discovery().RESTClient().Get().AbsPath(cluster.ClusterPath).Param("version", "v"+tt.version).Do(t.Context()).StatusCode(&code).Raw()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v %s", err, raw)
			case tt.want != "" && (code != http.StatusBadRequest || !strings.Contains(string(raw), tt.want)):
				t.Errorf("%d %s, want %q", code, raw, tt.want)
			}
		})
	}
}

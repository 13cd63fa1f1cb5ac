package apiserver

import (
	"runtime"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// effectiveVersion makes /version say which Kubernetes this server is like.
type effectiveVersion struct{ compatibility.EffectiveVersion }

// Info implements compatibility.EffectiveVersion.
func (e effectiveVersion) Info() *apiversion.Info {
	i := e.EffectiveVersion.Info()
	i.GitVersion = Version + "+skiff"
	i.GitCommit, i.GitTreeState = "", "clean"
	i.GoVersion, i.Compiler, i.Platform = runtime.Version(), runtime.Compiler, runtime.GOOS+"/"+runtime.GOARCH
	return i
}

package server

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
)

// ours are set by Start for every server, and of no effect on what is tested.
var ours = []string{
	"bind-address", "secure-port", "token-auth-file", "cert-dir",
	"endpoint-reconciler-type", // of a server on a loopback address
	"allow-privileged",         // skiff has no such limit
	"apiserver-count",          // deprecated
	// Of the store's own housekeeping; the tests' storage leaves them out.
	"storage-backend", "storage-media-type", "lease-reuse-duration-seconds", "etcd-compaction-interval", "etcd-count-metric-poll-period",
	"etcd-db-metric-poll-interval", "etcd-healthcheck-timeout", "etcd-readycheck-timeout",
	// Of apiextensions-apiserver, which asks a kube-apiserver that is not there.
	"authentication-kubeconfig", "authorization-kubeconfig", "kubeconfig", "authentication-skip-lookup",
	// See Gates.
	"feature-gates", "emulated-version", "min-compatibility-version", "emulation-forward-compatible", "runtime-config-emulation-forward-compatible",
	"v", "vmodule",
}

// known are the flags of the program.
var known = sync.OnceValues(func() ([]string, error) {
	out, err := exec.Command(os.Getenv("SKIFF"), "server", "--help").Output()
	if err != nil {
		return nil, fmt.Errorf("flags of skiff server: %w", err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)`).FindAllStringSubmatch(string(out), -1) {
		names = append(names, m[1])
	}
	return names, nil
})

// Flags gives the flags that set says otherwise than defaults, and those named
// always, as the program takes them; missing are those that it does not have.
func Flags(defaults, set *pflag.FlagSet, always ...string) (flags, missing []string, err error) {
	have, err := known()
	if err != nil {
		return nil, nil, err
	}
	set.VisitAll(func(f *pflag.Flag) {
		def := defaults.Lookup(f.Name)
		if slices.Contains(ours, f.Name) || def != nil && !slices.Contains(always, f.Name) && def.Value.String() == f.Value.String() {
			return
		}
		if !slices.Contains(have, f.Name) {
			missing = append(missing, "--"+f.Name+"="+f.Value.String())
			return
		}
		flags = append(flags, render(f)...)
	})
	return flags, missing, nil
}

// render writes a flag's value as it is parsed, which for lists and maps is
// not as they are printed.
func render(f *pflag.Flag) []string {
	name := "--" + f.Name + "="
	switch v, list := f.Value.(pflag.SliceValue); {
	case list && f.Value.Type() == "stringArray":
		var out []string
		for _, s := range v.GetSlice() {
			out = append(out, name+s)
		}
		return out
	case list:
		return []string{name + strings.Join(v.GetSlice(), ",")}
	case strings.HasPrefix(f.Value.Type(), "stringTo"):
		return []string{name + strings.Trim(f.Value.String(), "[]")}
	default:
		return []string{name + f.Value.String()}
	}
}

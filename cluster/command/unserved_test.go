package command

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestEveryFlagOfKubernetesIsServedOrExplained reads the flags of Kubernetes
// v1.37's servers, which are what `kube-apiserver --help` and
// `kube-controller-manager --help` list.
func TestEveryFlagOfKubernetesIsServedOrExplained(t *testing.T) {
	flags := newServer().Flags()
	upstream := map[string]bool{}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager"} {
		raw, err := os.ReadFile("testdata/" + name + ".flags")
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range strings.Fields(string(raw)) {
			upstream[flag] = true
			// Those of every command are the root's.
			served := flags.Lookup(flag) != nil || newRoot().PersistentFlags().Lookup(flag) != nil
			switch why := whyUnserved(flag); {
			case !served && why == "":
				t.Errorf("--%s of %s is neither served nor explained", flag, name)
			case served && why != "":
				t.Errorf("--%s is served, and said to be not: %s", flag, why)
			}
		}
	}
	for _, u := range unserved {
		for _, flag := range u.flags {
			if !upstream[flag] {
				t.Errorf("--%s is explained and no flag of Kubernetes", flag)
			}
		}
	}
}

func TestFlagsThatAreNotServedAreRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ name, flag, want string }{
		{"a flag of Kubernetes", "--cert-dir=/tmp", "unknown flag: --cert-dir: skiff does not have Kubernetes' flag: certificates are in the data directory, --data-dir"},
		{"a flag of nobody", "--cert-directory=/tmp", "unknown flag: --cert-directory"},
		{"a chance that is too great", "--goaway-chance=1", "--goaway-chance can not be less than 0 or greater than 0.02"},
		{"a feature that there is not", "--feature-gates=Teleport=true", "--feature-gates: unrecognized feature gate: Teleport"},
		{"a feature of code that is not here", "--feature-gates=StorageVersionAPI=true", "--feature-gates: StorageVersionAPI is not to be switched"},
		{"a size that is none", "--watch-cache-sizes=pods", "--watch-cache-sizes: invalid value of watch cache size: pods"},
		{"an origin that is not anchored", "--cors-allowed-origins=example.com", "regular expression does not pin to start/end of host in the origin header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := newRoot()
			root.SetArgs([]string{"server", "--data-dir", t.TempDir(), "--bind-address", "127.0.0.1", "--secure-port", "0", c.flag})
			err := root.ExecuteContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			var usage usageError
			if strings.HasPrefix(c.want, "unknown flag") && !errors.As(err, &usage) {
				t.Errorf("%v is no fault of the caller", err)
			}
		})
	}
}

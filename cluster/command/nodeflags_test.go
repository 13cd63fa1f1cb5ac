package command

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"github.com/skiffcluster/skiff/controllers"
)

func TestRatesOfNodesThatAreGivenUp(t *testing.T) {
	for _, c := range []struct {
		name, given string
		want        float32
		shown       string
	}{
		{"the default", "", 0, ""},
		{"a rate", "0.5", 0.5, "0.5"},
		{"none at all is not the default", "0", -1, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg controllers.Config
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			nodeLifecycleFlags(f, &cfg)
			if c.given != "" {
				if err := f.Set("node-eviction-rate", c.given); err != nil {
					t.Fatal(err)
				}
			}
			if shown := f.Lookup("node-eviction-rate").Value.String(); cfg.NodeEvictionRate != c.want || shown != c.shown {
				t.Errorf("%g, shown as %q", cfg.NodeEvictionRate, shown)
			}
		})
	}
	for _, bad := range []string{"-1", "soon"} {
		if (rate{new(float32)}).Set(bad) == nil {
			t.Errorf("%q is taken for a rate", bad)
		}
	}
}

// What a node is told is the same, however it is started.
func TestNodesAreToldTheSame(t *testing.T) {
	for _, name := range []string{"ipvs-scheduler", "proxy-mode", "cni-conf-dir", "cni-bin-dir", "load-balancer-pool", "node-lease-renew-interval"} {
		if newUp().Flags().Lookup(name) == nil || newAgent().Flags().Lookup(name) == nil {
			t.Errorf("skiff up and skiff agent have not both --%s", name)
		}
	}
	up := newUp().Flags()
	if err := up.Set("node-eviction-rate", "0"); err != nil {
		t.Fatal(err)
	}
	if got := serverFlags(up); !slices.Equal(got, []string{"--node-eviction-rate=0"}) {
		t.Errorf("further masters are told %q", got)
	}
}

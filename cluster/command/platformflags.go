package command

import (
	"strconv"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/skiffcluster/skiff/apiserver"
)

// platformFlags say what the API server serves, of its own and of extension
// servers.
func platformFlags(f *pflag.FlagSet, c *apiserver.Config) {
	c.RuntimeConfig = cliflag.ConfigurationMap{}
	f.Var(&c.RuntimeConfig, "runtime-config", "versions of kinds to switch on or off: <group>/<version>[/<resource>]=true|false, or api/all, api/ga, api/beta, api/alpha")
	f.VarPF(not{&c.NoPriorityAndFairness}, "enable-priority-and-fairness", "", "share out what is served at a time among flows of requests").NoOptDefVal = "true"
	f.StringVar(&c.ProxyClientCertFile, "proxy-client-cert-file", "", "certificate shown to extension API servers (default: the cluster's own)")
	f.StringVar(&c.ProxyClientKeyFile, "proxy-client-key-file", "", "key of --proxy-client-cert-file")
}

// not is a flag that is true when its variable is false.
type not struct{ v *bool }

func (n not) String() string { return strconv.FormatBool(n.v == nil || !*n.v) }
func (n not) Type() string   { return "bool" }

func (n not) Set(s string) error {
	on, err := strconv.ParseBool(s)
	*n.v = !on
	return err
}

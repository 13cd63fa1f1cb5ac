package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func newKubeconfig() *cobra.Command {
	c := &cobra.Command{
		Use: "kubeconfig", Short: "Write a kubeconfig, on request with the rights of somebody else", Args: cobra.NoArgs,
		Long: `Write a kubeconfig of its own for a context of the one that kubectl uses. With
--as requests are made with the rights of another user: a controller that runs
on this machine then misses the rights that it would miss in the cluster.`,
		Example: "  skiff kubeconfig --as system:serviceaccount:website-system:website-manager -o bin/kubeconfig",
	}
	var from, context, output string
	var to clientcmdapi.AuthInfo
	f := c.Flags()
	f.StringVar(&from, "kubeconfig", "", "kubeconfig to begin with (default: kubectl's own)")
	f.StringVar(&context, "context", "", "context of it (default: the current one)")
	f.StringVar(&to.Impersonate, "as", "", "user to act as; a service account is system:serviceaccount:NAMESPACE:NAME")
	f.StringSliceVar(&to.ImpersonateGroups, "as-group", nil, "groups to act in (default: a service account's own)")
	f.StringVar(&to.ImpersonateUID, "as-uid", "", "UID to act with")
	f.StringVarP(&output, "output", "o", "", "file to write (default: standard output)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if to.Impersonate == "" && (len(to.ImpersonateGroups) > 0 || to.ImpersonateUID != "") {
			return usageError{fmt.Errorf("--as-group and --as-uid need --as")}
		}
		if rest, ok := strings.CutPrefix(to.Impersonate, "system:serviceaccount:"); ok && strings.Count(rest, ":") != 1 {
			return usageError{fmt.Errorf("--as %q is not system:serviceaccount:NAMESPACE:NAME", to.Impersonate)}
		}
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = from
		loaded, err := rules.Load()
		if err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
		config, err := impersonating(loaded, context, to)
		if err != nil {
			return err
		}
		raw, err := clientcmd.Write(*config)
		if err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
		return writeOutput(c.OutOrStdout(), output, raw)
	}
	return c
}

// impersonating gives one context of a kubeconfig, complete in itself, whose
// user acts as another.
func impersonating(from *clientcmdapi.Config, context string, as clientcmdapi.AuthInfo) (*clientcmdapi.Config, error) {
	config := from.DeepCopy()
	if context != "" {
		config.CurrentContext = context
	}
	if config.Contexts[config.CurrentContext] == nil {
		return nil, fmt.Errorf("kubeconfig: there is no context %q", config.CurrentContext)
	}
	if err := clientcmdapi.MinifyConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if as.Impersonate == "" {
		return config, nil
	}
	name := config.Contexts[config.CurrentContext].AuthInfo
	info := config.AuthInfos[name]
	if info == nil {
		return nil, fmt.Errorf("kubeconfig: context %q has no user %q", config.CurrentContext, name)
	}
	info.Impersonate, info.ImpersonateGroups, info.ImpersonateUID = as.Impersonate, as.ImpersonateGroups, as.ImpersonateUID
	return config, nil
}

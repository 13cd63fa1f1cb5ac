package command

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstrapsecret "k8s.io/cluster-bootstrap/util/secrets"

	"github.com/skiffcluster/skiff/cluster"
)

// administered adds the flags that choose a cluster of this machine, or another
// by a kubeconfig, and gives how to reach it.
func administered(c *cobra.Command) func() (*restclient.Config, error) {
	open := administeredProfile(c)
	return func() (*restclient.Config, error) {
		_, r, err := open()
		return r, err
	}
}

// administeredProfile is administered that gives the profile as well; it is
// empty for a cluster elsewhere.
func administeredProfile(c *cobra.Command) func() (profile, *restclient.Config, error) {
	open := selected(c)
	kubeconfig := c.Flags().String("kubeconfig", "", "administrator's kubeconfig of a cluster elsewhere")
	return func() (profile, *restclient.Config, error) {
		if *kubeconfig != "" {
			r, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
			if err != nil {
				return profile{}, nil, fmt.Errorf("kubeconfig %s: %w", *kubeconfig, err)
			}
			return profile{}, r, restclient.LoadTLSFiles(r)
		}
		p, _, err := mustRun(open)
		if err != nil {
			return p, nil, err
		}
		access, err := accessOf(p)
		return p, access.RESTConfig(), err
	}
}

func newToken() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "The tokens that machines join a cluster with"}
	c.AddCommand(newTokenCreate(), newTokenList(), newTokenDelete())
	return c
}

func newTokenCreate() *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Make a token and print the command that joins a machine with it", Args: cobra.NoArgs,
		Long: `Make a token and print it, or with --print-join-command the one command to run
on a machine that joins: a worker, or with --master a master. A master is given
the cluster's keys: keep its token secret.`,
	}
	reach := administered(c)
	f := c.Flags()
	ttl := f.Duration("ttl", 24*time.Hour, "how long the token is good; 0: for ever")
	master := f.Bool("master", false, "for a master instead of a worker")
	print := f.Bool("print-join-command", false, "print the command to run on the machine")
	server := f.String("server", "", "URL in that command (default: the first address of a master that others reach)")
	description := f.String("description", "", "what the token is for")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *ttl < 0 {
			return usageError{fmt.Errorf("--ttl %s is negative", *ttl)}
		}
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := kubernetes.NewForConfig(r)
		if err != nil {
			return err
		}
		t, err := cluster.NewToken(c.Context(), k, r.CAData, *master, *ttl, *description)
		if err != nil {
			return err
		}
		if !*print {
			fmt.Fprintln(c.OutOrStdout(), t)
			return nil
		}
		if *server == "" {
			if *server, err = publicURL(c, k, r.Host); err != nil {
				return err
			}
		}
		verb := "agent --server"
		if *master {
			verb = "server --join"
		}
		fmt.Fprintf(c.OutOrStdout(), "skiff %s %s --token %s\n", verb, *server, t)
		return nil
	}
	return c
}

// publicURL is where machines reach the API server that host reaches from here.
func publicURL(c *cobra.Command, k kubernetes.Interface, host string) (string, error) {
	e, err := k.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(c.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err == nil && len(e.Endpoints) > 0 && len(e.Ports) > 0 {
		return "https://" + net.JoinHostPort(e.Endpoints[0].Addresses[0], fmt.Sprint(*e.Ports[0].Port)), nil
	}
	u, err := url.Parse(host)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

func newTokenList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the tokens", Args: cobra.NoArgs}
	reach := administered(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := kubernetes.NewForConfig(r)
		if err != nil {
			return err
		}
		all, err := k.CoreV1().Secrets(metav1.NamespaceSystem).List(c.Context(), metav1.ListOptions{FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken)})
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tTTL\tEXPIRES\tFOR\tDESCRIPTION")
		for i := range all.Items {
			get := func(key string) string { return bootstrapsecret.GetData(&all.Items[i], key) }
			left, expires := "<forever>", "<never>"
			if at, err := time.Parse(time.RFC3339, get(bootstrapapi.BootstrapTokenExpirationKey)); err == nil {
				left, expires = duration.ShortHumanDuration(max(0, time.Until(at))), at.Format(time.RFC3339)
			}
			role := "workers"
			if strings.Contains(get(bootstrapapi.BootstrapTokenExtraGroupsKey), cluster.MastersGroup) {
				role = "masters"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", get(bootstrapapi.BootstrapTokenIDKey), left, expires, role, get(bootstrapapi.BootstrapTokenDescriptionKey))
		}
		return w.Flush()
	}
	return c
}

func newTokenDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete ID…", Short: "Delete tokens: nobody joins with them any more", Args: cobra.MinimumNArgs(1)}
	reach := administered(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := kubernetes.NewForConfig(r)
		if err != nil {
			return err
		}
		for _, arg := range args {
			id, _, _ := strings.Cut(arg, ".")
			if !bootstraputil.IsValidBootstrapTokenID(id) {
				return usageError{fmt.Errorf("%q is no token's id: it is of six lower case letters and digits", id)}
			}
			err := k.CoreV1().Secrets(metav1.NamespaceSystem).Delete(c.Context(), bootstraputil.BootstrapTokenSecretName(id), metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("there is no token %q", id)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "Token %s is deleted.\n", id)
		}
		return nil
	}
	return c
}

// readToken reads a token from a flag or, with a leading @, from a file: what is
// on a command line others can see.
func readToken(flag string, read func(string) ([]byte, error)) (cluster.Token, error) {
	if flag == "" {
		return cluster.Token{}, usageError{errors.New("--token is needed: 'skiff token create' on a master makes one")}
	}
	if file, ok := strings.CutPrefix(flag, "@"); ok {
		raw, err := read(file)
		if err != nil {
			return cluster.Token{}, fmt.Errorf("--token: %w", err)
		}
		flag = strings.TrimSpace(string(raw))
	}
	t, err := cluster.ParseToken(flag)
	if err != nil {
		return t, usageError{fmt.Errorf("--token: %w", err)}
	}
	return t, nil
}

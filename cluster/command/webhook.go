package command

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/manifests"
	"github.com/skiffcluster/skiff/cluster/pki"
	"github.com/skiffcluster/skiff/cluster/webhooks"
)

func newWebhook() *cobra.Command {
	c := &cobra.Command{
		Use: "webhook", Short: "Have a cluster ask the webhooks of an operator that is being developed",
		Long: `Apply an operator's manifests so that the cluster can ask its webhooks: the
configurations among them, and the definitions that convert, get the
certificate that vouches for the server.

'local' points them at a server on this machine, 'service' leaves them at the
service in the cluster and gives it a certificate.`,
	}
	c.AddCommand(newWebhookLocal(), newWebhookService())
	return c
}

// applied are the manifests that a command works on.
type applied struct {
	files  []string
	client func() (*restclient.Config, error)
}

func (a *applied) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVarP(&a.files, "filename", "f", nil, "manifests: files, directories, or - for standard input")
	a.client = clientFlags(f)
	if err := c.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is declared above
	}
}

func (a *applied) read(in io.Reader) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, file := range a.files {
		if file != "-" {
			objs, err := manifests.Read(file)
			if err != nil {
				return nil, err
			}
			out = append(out, objs...)
			continue
		}
		raw, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		objs, err := manifests.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		out = append(out, objs...)
	}
	return out, nil
}

// apply writes the objects and says which webhooks are asked where.
func (a *applied) apply(ctx context.Context, out io.Writer, config *restclient.Config, objs []*unstructured.Unstructured, changed []string, where string) error {
	applier, err := manifests.NewApplier(config, "")
	if err != nil {
		return err
	}
	applier.Replaced, applier.Dropped = changed, webhooks.Injection
	if objs, err = withoutIssuing(out, config, objs); err != nil {
		return err
	}
	if err := applier.Apply(ctx, objs); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d objects applied\n", len(objs))
	for _, name := range changed {
		fmt.Fprintf(out, "%s asks %s\n", name, where)
	}
	return nil
}

// withoutIssuing leaves out what asks cert-manager for certificates where the
// cluster has no cert-manager, and says so.
func withoutIssuing(out io.Writer, config *restclient.Config, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	rest, left := webhooks.WithoutIssuing(objs)
	if left == 0 {
		return objs, nil
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("what the cluster serves: %w", err)
	}
	groups, err := d.ServerGroups()
	if err != nil {
		return nil, fmt.Errorf("what the cluster serves: %w", err)
	}
	if slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == webhooks.IssuingGroup }) {
		return objs, nil
	}
	fmt.Fprintf(out, "%d objects of %s left out: the cluster has no cert-manager\n", left, webhooks.IssuingGroup)
	return rest, nil
}

var errNoWebhooks = errors.New("there is no webhook of a service among the manifests: give the ones that a deployment uses")

func newWebhookLocal() *cobra.Command {
	c := &cobra.Command{
		Use: "local", Short: "Have the cluster ask webhooks on this machine", Args: cobra.NoArgs,
		Long: `Apply manifests with their webhooks pointed at a server on this machine:
https://HOST:PORT instead of the service that they name. The server's
certificate, tls.crt and tls.key, is written to --cert-dir and kept there.`,
		Example: "  kubectl kustomize config/default | skiff webhook local -f - --cert-dir bin/certs\n  go run . --webhook-cert-path bin/certs",
	}
	var a applied
	a.flags(c)
	var dir string
	t := webhooks.Target{}
	c.Flags().StringVar(&dir, "cert-dir", "", "where the server's certificate is kept")
	c.Flags().StringVar(&t.Host, "host", "127.0.0.1", "name or address by which the API server reaches this machine")
	c.Flags().IntVar(&t.Port, "port", 9443, "port that the server listens on")
	if err := c.MarkFlagRequired("cert-dir"); err != nil {
		panic(err) // the flag is declared above
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if t.Port < 1 || t.Port > 65535 {
			return usageError{fmt.Errorf("--port %d is not a port (1 to 65535)", t.Port)}
		}
		config, err := a.client()
		if err != nil {
			return err
		}
		objs, err := a.read(c.InOrStdin())
		if err != nil {
			return err
		}
		store, err := pki.Open(dir, clock.RealClock{})
		if err != nil {
			return err
		}
		if _, err := store.Serving("tls", pkix.Name{CommonName: "webhooks"}, t.Host, "localhost"); err != nil {
			return err
		}
		t.CA = store.CA()
		changed, err := webhooks.Point(objs, t)
		if err != nil {
			return err
		}
		if len(changed) == 0 {
			return errNoWebhooks
		}
		return a.apply(c.Context(), c.OutOrStdout(), config, objs, changed, t.URL("/"))
	}
	return c
}

func newWebhookService() *cobra.Command {
	c := &cobra.Command{
		Use: "service", Short: "Give the webhooks of a service in the cluster a certificate", Args: cobra.NoArgs,
		Long: `Apply manifests whose webhooks are a service's in the cluster: a Secret gets
the service's certificate, tls.crt and tls.key, and the webhooks the one that
vouches for it. A Secret whose certificate still serves is left as it is.

Without --secret the certificate is left to whoever makes it, such as
cert-manager or the operator itself: webhooks that 'local' has pointed at
another server are the service's again.`,
		Example: `  kubectl kustomize config/default | skiff webhook service -f - --secret website-system/certificate
  helm get manifest -n cert-manager cert-manager | skiff webhook service -f -`,
	}
	var a applied
	a.flags(c)
	secret := c.Flags().String("secret", "", "NAMESPACE/NAME of the Secret that the server mounts, to make its certificate")
	c.RunE = func(c *cobra.Command, _ []string) error {
		namespace, name, ok := strings.Cut(*secret, "/")
		if *secret != "" && (!ok || namespace == "" || name == "") {
			return usageError{fmt.Errorf("--secret %q is not NAMESPACE/NAME", *secret)}
		}
		config, err := a.client()
		if err != nil {
			return err
		}
		objs, err := a.read(c.InOrStdin())
		if err != nil {
			return err
		}
		hosts, asking, err := webhooks.Services(objs)
		if err != nil {
			return err
		}
		if len(hosts) == 0 {
			return errNoWebhooks
		}
		if *secret == "" {
			return a.apply(c.Context(), c.OutOrStdout(), config, objs, asking, "its service")
		}
		k, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		have, err := webhooks.ReadCertificate(c.Context(), k, namespace, name)
		if err != nil {
			return err
		}
		certificate, err := have.For(hosts)
		if err != nil {
			return err
		}
		changed, err := webhooks.Trust(objs, certificate.CA)
		if err != nil {
			return err
		}
		objs = append(objs, certificate.Secret(namespace, name))
		return a.apply(c.Context(), c.OutOrStdout(), config, objs, changed, "its service")
	}
	return c
}

// writeOutput writes to a file that only its owner reads, or to out.
func writeOutput(out io.Writer, path string, data []byte) error {
	if path == "" {
		_, err := out.Write(data)
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

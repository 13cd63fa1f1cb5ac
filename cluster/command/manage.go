package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster"
)

// selected adds the flags that choose a cluster of this machine.
func selected(c *cobra.Command) func() (profile, error) {
	var name, dir string
	c.Flags().StringVarP(&name, "profile", "p", "default", "name of the cluster")
	c.Flags().StringVar(&dir, "data-dir", "", "where its data is kept (default: a directory of the profile)")
	return func() (profile, error) { return openProfile(name, dir) }
}

var errNotRunning = errors.New("not running")

// mustRun gives the running cluster that flags choose.
func mustRun(open func() (profile, error)) (profile, run, error) {
	p, err := open()
	if err != nil {
		return profile{}, run{}, err
	}
	r, ok := p.running()
	if !ok {
		if !p.exists() {
			return p, run{}, fmt.Errorf("there is no cluster %q: 'skiff up -p %s' starts one", p.name, p.name)
		}
		return p, run{}, fmt.Errorf("cluster %q is %w: 'skiff up -p %s' starts it", p.name, errNotRunning, p.name)
	}
	return p, r, nil
}

func newStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Say whether a cluster runs and is healthy", Args: cobra.NoArgs}
	open := selected(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, r, err := mustRun(open)
		if err != nil {
			return err
		}
		k, err := clientOf(p)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintf(w, "Profile\t%s\nProcess\t%d, since %s\nServer\t%s\nData\t%s\n", p.name, r.PID, r.Started.Format(time.RFC3339), r.Server, p.dir)
		ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
		defer cancel()
		health := "ok"
		if _, err := k.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			health = err.Error()
		}
		fmt.Fprintf(w, "API\t%s\n", health)
		seats, err := readSeats(p)
		if err != nil {
			return err
		}
		for i, m := range seats {
			if len(seats) > 1 { // the only one has answered already
				fmt.Fprintf(w, "Master %d\t%s\n", i, masterState(ctx, p, m))
			}
		}
		nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, n := range nodes.Items {
				fmt.Fprintf(w, "Node %s\t%s\n", n.Name, readiness(&n))
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if health != "ok" {
			return exitError(1)
		}
		return nil
	}
	return c
}

// masterState says whether a master that is a process of its own serves.
func masterState(ctx context.Context, p profile, m seat) string {
	access, err := cluster.ReadAccess(p.dir, "https://"+m.api())
	if err != nil {
		return err.Error()
	}
	r := access.RESTConfig()
	r.Timeout = time.Second // one that is cut off says nothing
	k, err := kubernetes.NewForConfig(r)
	if err != nil {
		return err.Error()
	}
	if _, err := k.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return err.Error()
	}
	return "ok, " + r.Host
}

func readiness(n *corev1.Node) string {
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
			return "Ready"
		}
	}
	return "NotReady"
}

// clientOf reaches a cluster of this machine with the administrator's
// certificate in its data directory.
func clientOf(p profile) (kubernetes.Interface, error) {
	access, err := accessOf(p)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(access.RESTConfig())
}

func accessOf(p profile) (cluster.Access, error) {
	r, ok := p.running()
	if !ok {
		return cluster.Access{}, fmt.Errorf("cluster %q is %w", p.name, errNotRunning)
	}
	return cluster.ReadAccess(p.dir, r.Server)
}

func newStop() *cobra.Command {
	c := &cobra.Command{Use: "stop", Short: "Stop a cluster; its data stays", Args: cobra.NoArgs}
	open := selected(c)
	timeout := c.Flags().Duration("timeout", time.Minute, "how long to wait for it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, r, err := mustRun(open)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), *timeout)
		defer cancel()
		if err := p.stop(ctx, r); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "Cluster %q is stopped.\n", p.name)
		return nil
	}
	return c
}

func newDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Stop a cluster and remove its containers and data", Args: cobra.NoArgs,
		Long: `Stop a cluster and remove its containers and data. With --data-dir of a
'skiff agent' that has ended, the same for its node on this machine; the cluster
forgets it by 'kubectl delete node'.`}
	open := selected(c)
	kubeconfig := c.Flags().String("kubeconfig", "", "kubeconfig to remove its context from, instead of kubectl's own")
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, err := open()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
		defer cancel()
		if cluster.Joined(p.dir) {
			return deleteAgent(ctx, c.OutOrStdout(), p.dir)
		}
		if !p.exists() {
			return fmt.Errorf("there is no cluster %q", p.name)
		}
		if r, ok := p.running(); ok {
			if err := p.stop(ctx, r); err != nil {
				return err
			}
		}
		if err := cluster.Remove(ctx, p.dir); err != nil {
			return err
		}
		if err := os.Remove(p.dir + ".out"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove output: %w", err)
		}
		path := *kubeconfig
		if path == "" {
			path = kubeconfigPath()
		}
		if err := removeKubeconfig(path, p.context()); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "Cluster %q is deleted.\n", p.name)
		return nil
	}
	return c
}

func deleteAgent(ctx context.Context, out io.Writer, dir string) error {
	name, _, err := cluster.AgentNode(dir)
	if err != nil {
		return err
	}
	if err := cluster.RemoveAgent(ctx, dir); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	fmt.Fprintf(out, "Node %s is removed from this machine. 'kubectl delete node %s' has its cluster forget it.\n", name, name)
	return nil
}

func newProfile() *cobra.Command {
	c := &cobra.Command{Use: "profile", Short: "The clusters of this machine"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the clusters of this machine", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := profiles()
			if err != nil {
				return err
			}
			if len(all) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "There are no clusters: 'skiff up' starts one.")
				return nil
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "PROFILE\tSTATUS\tRUNTIME\tSERVER\tDATA")
			for _, p := range all {
				if r, ok := p.running(); ok {
					fmt.Fprintf(w, "%s\tRunning\t%s\t%s\t%s\n", p.name, r.Runtime, r.Server, p.dir)
				} else {
					fmt.Fprintf(w, "%s\tStopped\t\t\t%s\n", p.name, p.dir)
				}
			}
			return w.Flush()
		},
	})
	return c
}

func newIP() *cobra.Command {
	c := &cobra.Command{Use: "ip", Short: "Print the address of a cluster's first node", Args: cobra.NoArgs}
	open := selected(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, _, err := mustRun(open)
		if err != nil {
			return err
		}
		ip, err := nodeIP(c.Context(), p)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), ip)
		return nil
	}
	return c
}

func nodeIP(ctx context.Context, p profile) (string, error) {
	k, err := clientOf(p)
	if err != nil {
		return "", err
	}
	nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return a.Address, nil
			}
		}
	}
	return "", fmt.Errorf("cluster %q has no node with an address yet", p.name)
}

func newService() *cobra.Command {
	c := &cobra.Command{Use: "service NAME", Short: "Print the URLs of a service's node ports", Args: cobra.ExactArgs(1)}
	open := selected(c)
	namespace := c.Flags().StringP("namespace", "n", "default", "namespace of the service")
	only := c.Flags().Bool("url", false, "print the URLs and nothing else")
	c.RunE = func(c *cobra.Command, args []string) error {
		p, _, err := mustRun(open)
		if err != nil {
			return err
		}
		k, err := clientOf(p)
		if err != nil {
			return err
		}
		svc, err := k.CoreV1().Services(*namespace).Get(c.Context(), args[0], metav1.GetOptions{})
		if err != nil {
			return err
		}
		ip, err := nodeIP(c.Context(), p)
		if err != nil {
			return err
		}
		urls := serviceURLs(svc, ip)
		if len(urls) == 0 {
			return fmt.Errorf("service %s/%s has no node port; it is of type %s", svc.Namespace, svc.Name, svc.Spec.Type)
		}
		if *only {
			fmt.Fprintln(c.OutOrStdout(), strings.Join(urls, "\n"))
			return nil
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NAMESPACE\tNAME\tTARGET PORT\tURL")
		for i, u := range urls {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", svc.Namespace, svc.Name, portLabel(&svc.Spec.Ports[i]), u)
		}
		return w.Flush()
	}
	return c
}

func serviceURLs(s *corev1.Service, ip string) []string {
	var out []string
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 {
			continue
		}
		u := url.URL{Scheme: "http", Host: net.JoinHostPort(ip, strconv.Itoa(int(p.NodePort)))}
		if p.Name == "https" || p.Port == 443 {
			u.Scheme = "https"
		}
		out = append(out, u.String())
	}
	return out
}

func portLabel(p *corev1.ServicePort) string {
	if p.Name != "" {
		return p.Name + "/" + strconv.Itoa(int(p.Port))
	}
	return strconv.Itoa(int(p.Port))
}

package command

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster"
)

// masterFlags are those of a server that others join or that joins others.
// The function that is returned fills in the configuration, whose API server's
// address is known by then.
func masterFlags(f *pflag.FlagSet, cfg *cluster.Config) func() error {
	var join, token, peer, clients string
	f.StringVar(&join, "join", "", "URLs of masters of a cluster to become a further master of; no effect once it is one")
	f.StringVar(&token, "token", "", "token of 'skiff token create --master', or @FILE that holds it")
	f.StringVar(&peer, "etcd-peer-address", "", "host:port where other masters reach this one's etcd (default: --advertise-address and 2380)")
	f.StringVar(&clients, "etcd-client-address", "", "host:port where etcd serves clients such as etcdctl by TLS, once there are several masters (default: nowhere)")
	f.DurationVar(&cfg.APIServer.Etcd.Tick, "etcd-heartbeat-interval", 100*time.Millisecond, "time between heartbeats of etcd's leader; the same on all masters")
	f.DurationVar(&cfg.APIServer.Etcd.Election, "etcd-election-timeout", 500*time.Millisecond, "how long etcd waits for a silent leader, and at most twice that; the same on all masters")
	f.Int64Var(&cfg.APIServer.Etcd.Quota, "quota-backend-bytes", 0, "largest size of etcd's database (default 8 GiB)")
	leaderFlags(f, cfg)
	snapshotFlags(f, &cfg.Snapshots)
	return func() error {
		if host := cfg.APIServer.AdvertiseAddress; peer == "" {
			peer = net.JoinHostPort(host.String(), strconv.Itoa(2380))
		}
		host, _, err := net.SplitHostPort(peer)
		if err != nil || net.ParseIP(host) == nil {
			return usageError{fmt.Errorf("--etcd-peer-address %q is not an address and port", peer)}
		}
		cfg.APIServer.Etcd.Peers = &etcd.Peers{Listen: peer, Advertise: peer, Clients: clients}
		if join == "" {
			return nil
		}
		t, err := readToken(token, os.ReadFile)
		if err != nil {
			return err
		}
		cfg.Join = &cluster.Join{Servers: cluster.SplitServers(join), Token: t}
		return nil
	}
}

// leaderFlags say how soon another master's controllers and scheduler take over
// from dead ones.
func leaderFlags(f *pflag.FlagSet, cfg *cluster.Config) {
	for _, flag := range []struct {
		name, usage           string
		controller, scheduler *time.Duration
	}{
		{"leader-elect-lease-duration", "how long others wait for a silent leader, in whole seconds (default 2s; 15s while this is the only master)", &cfg.Controllers.LeaseDuration, &cfg.Scheduler.LeaseDuration},
		{"leader-elect-renew-deadline", "how long a leader goes on that can't renew (default 1.3s)", &cfg.Controllers.RenewDeadline, &cfg.Scheduler.RenewDeadline},
		{"leader-elect-retry-period", "time between tries (default 100ms)", &cfg.Controllers.RetryPeriod, &cfg.Scheduler.RetryPeriod},
	} {
		f.Var(both{flag.controller, flag.scheduler}, flag.name, flag.usage)
	}
}

// both is a flag of two rooms.
type both struct{ a, b *time.Duration }

// String implements pflag.Value.
func (v both) String() string {
	if v.a == nil || *v.a == 0 {
		return ""
	}
	return v.a.String()
}

// Set implements pflag.Value.
func (v both) Set(s string) error {
	d, err := time.ParseDuration(s)
	*v.a, *v.b = d, d
	return err
}

// Type implements pflag.Value.
func (both) Type() string { return "duration" }

func newMaster() *cobra.Command {
	c := &cobra.Command{Use: "master", Short: "The masters of a cluster"}
	c.AddCommand(newMasterList(), newMasterRemove(), newMasterDefragment())
	return c
}

// raw is for requests to masters beside the API.
func raw(r *restclient.Config) (restclient.Interface, error) {
	k, err := kubernetes.NewForConfig(r)
	if err != nil {
		return nil, err
	}
	return k.Discovery().RESTClient(), nil
}

func newMasterList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the masters", Args: cobra.NoArgs}
	reach := administered(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := raw(r)
		if err != nil {
			return err
		}
		answer, err := k.Get().AbsPath(cluster.MastersPath).DoRaw(c.Context())
		if err != nil {
			return fmt.Errorf("%w: %s", err, answer)
		}
		var all []etcd.Member
		if err := json.Unmarshal(answer, &all); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tPEER\tROLE\tVOTES")
		for _, m := range all {
			role := "follower"
			if m.Leader {
				role = "leader"
			}
			if m.Name == "" {
				role = "not started"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%t\n", m.Name, m.URL, role, !m.Learner)
		}
		return w.Flush()
	}
	return c
}

func newMasterRemove() *cobra.Command {
	c := &cobra.Command{
		Use: "remove NAME", Short: "Take a master out of the cluster", Args: cobra.ExactArgs(1),
		Long: `Take a master out of the cluster, for good: its process ends, and its data can't
be used any more. One that is to come back joins with an empty data directory,
and then need not be removed before.`,
	}
	reach := administered(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := raw(r)
		if err != nil {
			return err
		}
		if answer, err := k.Delete().AbsPath(cluster.MastersPath).Param("name", args[0]).DoRaw(c.Context()); err != nil {
			return fmt.Errorf("%w: %s", err, answer)
		}
		fmt.Fprintf(c.OutOrStdout(), "Master %s is removed.\n", args[0])
		return nil
	}
	return c
}

func newMasterDefragment() *cobra.Command {
	c := &cobra.Command{
		Use: "defragment", Short: "Make the database of one master as small as its content", Args: cobra.NoArgs,
		Long: `Make the database of one master, the one that answers, as small as its content.
It serves nobody meanwhile: take one master after the other.`,
	}
	reach := administered(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, err := reach()
		if err != nil {
			return err
		}
		k, err := raw(r)
		if err != nil {
			return err
		}
		answer, err := k.Post().AbsPath(cluster.DefragmentPath).DoRaw(c.Context())
		if err != nil {
			return fmt.Errorf("%w: %s", err, answer)
		}
		var size struct{ Before, After, Used int64 }
		if err := json.Unmarshal(answer, &size); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		fmt.Fprintf(c.OutOrStdout(), "%d MiB before, %d MiB now, %d MiB in use\n", size.Before>>20, size.After>>20, size.Used>>20)
		return nil
	}
	return c
}

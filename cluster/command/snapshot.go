package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skiffcluster/skiff/cluster"
)

func snapshotFlags(f *pflag.FlagSet, s *cluster.SnapshotSchedule) {
	f.StringVar(&s.Cron, "snapshot-schedule-cron", "", "when to take snapshots, as in crontab: '0 */6 * * *' (default: never)")
	f.IntVar(&s.Retention, "snapshot-retention", 5, "how many scheduled snapshots are kept")
	f.StringVar(&s.Dir, "snapshot-dir", "", "where scheduled snapshots are kept (default: snapshots in the data directory)")
}

func newSnapshot() *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Save and restore a whole cluster",
		Long: `Save and restore a whole cluster: its objects and the keys and certificates of
its masters, in one file. Whoever has the file has the cluster: keep it safe.`,
	}
	c.AddCommand(newSnapshotSave(), newSnapshotRestore(), newSnapshotList(), newSnapshotStatus())
	return c
}

func newSnapshotSave() *cobra.Command {
	c := &cobra.Command{Use: "save [FILE]", Short: "Save a snapshot of a running cluster (default: into its data directory)", Args: cobra.MaximumNArgs(1)}
	var file string
	open := administeredProfile(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		p, r, err := open()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			file = args[0]
		} else if p.dir == "" {
			return usageError{fmt.Errorf("say which FILE to write")}
		} else {
			file = filepath.Join(p.dir, "snapshots", cluster.SnapshotName("", time.Now()))
		}
		k, err := raw(r)
		if err != nil {
			return err
		}
		info, err := cluster.SaveSnapshot(file, func(w io.Writer) error {
			from, err := k.Get().AbsPath(cluster.SnapshotPath).Stream(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = from.Close() }()
			_, err = io.Copy(w, from)
			return err
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "Saved %s: revision %d, %d keys.\n", file, info.Revision, info.Keys)
		return nil
	}
	return c
}

func newSnapshotRestore() *cobra.Command {
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make the data of a cluster from a snapshot", Args: cobra.ExactArgs(1),
		Long: `Make the data of a cluster from a snapshot, in a data directory that has none.
'skiff server' or 'skiff up' on it brings the cluster back; further masters join
it again, with empty data directories.`,
	}
	open := selected(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := open()
		if err != nil {
			return err
		}
		_, missing := os.Stat(p.dir)
		release, err := p.lock()
		if err != nil {
			return err
		}
		defer release()
		info, err := cluster.RestoreSnapshot(args[0], p.dir)
		if err != nil {
			if missing != nil { // it was made for this
				err = errors.Join(err, os.RemoveAll(p.dir))
			}
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "Restored cluster %q as of %s into %s.\nStart it:  skiff server -p %s --data-dir %s\n",
			info.Cluster, info.Taken.Format(time.RFC3339), p.dir, p.name, p.dir)
		return nil
	}
	return c
}

func newSnapshotList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the snapshots in a cluster's data directory", Args: cobra.NoArgs}
	open := selected(c)
	dir := c.Flags().String("snapshot-dir", "", "where they are (default: snapshots in the data directory)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		p, err := open()
		if err != nil {
			return err
		}
		if *dir == "" {
			*dir = filepath.Join(p.dir, "snapshots")
		}
		all, err := cluster.Snapshots(*dir)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SNAPSHOT\tTAKEN\tSIZE")
		for _, f := range all {
			fmt.Fprintf(w, "%s\t%s\t%.1f MiB\n", filepath.Join(*dir, f.Name()), f.ModTime().Format(time.RFC3339), float64(f.Size())/(1<<20))
		}
		return w.Flush()
	}
	return c
}

func newSnapshotStatus() *cobra.Command {
	c := &cobra.Command{Use: "status FILE", Short: "Verify a snapshot and say what it holds", Args: cobra.ExactArgs(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		info, err := cluster.ReadSnapshot(args[0])
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintf(w, "Cluster\t%s\nCA\tsha256:%s\nTaken\t%s\nKubernetes\t%s\nRevision\t%d\nKeys\t%d\nDatabase\t%.1f MiB\n",
			info.Cluster, info.CAHash, info.Taken.Format(time.RFC3339), info.Version, info.Revision, info.Keys, float64(info.Size)/(1<<20))
		return w.Flush()
	}
	return c
}

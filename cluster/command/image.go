package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/internal/ociimage"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
)

func newImage() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Images of a cluster's nodes"}
	c.AddCommand(newImageBuild(), newImageLoad(), newImageList(), newImagePull(), newImageRemove())
	return c
}

// eachNode calls f with the runtime of every node of a running cluster, or of
// the one that joined another with this data directory.
func eachNode(ctx context.Context, open func() (profile, error), f func(node string, r runtime.Runtime) error) error {
	p, err := open()
	if err != nil {
		return err
	}
	if cluster.Joined(p.dir) {
		name, dir, err := cluster.AgentNode(p.dir)
		if err != nil {
			return err
		}
		return oneNode(ctx, name, dir, f)
	}
	if _, _, err := mustRun(open); err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(p.dir, "nodes", "*", "run", "containerd.sock"))
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return fmt.Errorf("cluster %q has no node with a containerd of its own: with --containerd use that one's tools, and simulated nodes have no images", p.name)
	}
	for _, socket := range dirs {
		dir := filepath.Dir(filepath.Dir(socket))
		if err := oneNode(ctx, filepath.Base(dir), dir, f); err != nil {
			return err
		}
	}
	return nil
}

func oneNode(ctx context.Context, name, dir string, f func(node string, r runtime.Runtime) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("node %s: %w", name, err)
		}
	}()
	r, err := containerd.New(containerd.Config{
		Address: filepath.Join(dir, "run", "containerd.sock"), RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "runtime"), HostsDir: filepath.Join(dir, "certs.d"),
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running) }()
	select {
	case <-r.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	err = f(name, r)
	cancel()
	return errors.Join(err, <-ended)
}

func newImageLoad() *cobra.Command {
	c := &cobra.Command{Use: "load ARCHIVE…", Short: "Load images from OCI or docker archives", Args: cobra.MinimumNArgs(1)}
	open := selected(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return eachNode(c.Context(), open, func(node string, r runtime.Runtime) error {
			for _, path := range args {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				names, err := r.ImportImages(c.Context(), f)
				_ = f.Close()
				if err != nil {
					return fmt.Errorf("load %s: %w", path, err)
				}
				for _, n := range names {
					fmt.Fprintf(c.OutOrStdout(), "%s loaded on %s\n", n, node)
				}
			}
			return nil
		})
	}
	return c
}

func newImageList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the images on the nodes", Args: cobra.NoArgs}
	open := selected(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tIMAGE\tID\tSIZE")
		err := eachNode(c.Context(), open, func(node string, r runtime.Runtime) error {
			images, err := r.ListImages(c.Context())
			for _, i := range images {
				for _, tag := range i.RepoTags {
					fmt.Fprintf(w, "%s\t%s\t%.19s\t%.1f MB\n", node, tag, i.ID, float64(i.Size)/1e6)
				}
			}
			return err
		})
		return errors.Join(err, w.Flush())
	}
	return c
}

func newImagePull() *cobra.Command {
	c := &cobra.Command{Use: "pull IMAGE…", Short: "Pull images from their registries", Args: cobra.MinimumNArgs(1)}
	open := selected(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return eachNode(c.Context(), open, func(node string, r runtime.Runtime) error {
			for _, ref := range args {
				if _, err := r.PullImage(c.Context(), ref, nil); err != nil {
					return fmt.Errorf("pull %s: %w", ref, err)
				}
				fmt.Fprintf(c.OutOrStdout(), "%s pulled on %s\n", ref, node)
			}
			return nil
		})
	}
	return c
}

func newImageRemove() *cobra.Command {
	c := &cobra.Command{Use: "rm IMAGE…", Short: "Remove images from the nodes", Args: cobra.MinimumNArgs(1)}
	open := selected(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return eachNode(c.Context(), open, func(node string, r runtime.Runtime) error {
			for _, ref := range args {
				image, err := r.ImageByRef(c.Context(), ref)
				if err != nil {
					return err
				}
				if err := r.RemoveImage(c.Context(), image.ID); err != nil {
					return fmt.Errorf("remove %s: %w", ref, err)
				}
				fmt.Fprintf(c.OutOrStdout(), "%s removed from %s\n", ref, node)
			}
			return nil
		})
	}
	return c
}

func newImageBuild() *cobra.Command {
	var s ociimage.Spec
	var output string
	c := &cobra.Command{
		Use: "build PROGRAM [ARG…]", Short: "Make an image of a static program, as an archive", Args: cobra.MinimumNArgs(1),
		Example: "  CGO_ENABLED=0 go build -o hello ./config/samples/hello\n  skiff image build -t skiff.dev/hello:v1 -o hello.tar hello",
		RunE: func(c *cobra.Command, args []string) error {
			s.Program, s.Args = args[0], args[1:]
			temp := output + ".new"
			f, err := os.Create(temp)
			if err != nil {
				return fmt.Errorf("image archive: %w", err)
			}
			if err := ociimage.Write(f, s); err != nil {
				_ = f.Close()
				_ = os.Remove(temp)
				return err
			}
			if err := f.Close(); err != nil {
				return fmt.Errorf("image archive: %w", err)
			}
			return os.Rename(temp, output)
		},
	}
	f := c.Flags()
	f.StringVarP(&s.Name, "tag", "t", "", "name of the image with its tag")
	f.StringVarP(&output, "output", "o", "", "archive to write")
	f.StringSliceVar(&s.Links, "link", nil, "further names of the program, in /bin or, as /manager, elsewhere")
	f.StringSliceVar(&s.Env, "env", nil, "environment, NAME=value")
	f.StringSliceVar(&s.Ports, "port", nil, "exposed ports, 8080/tcp")
	f.StringVar(&s.User, "user", "", "user that the program runs as")
	for _, name := range []string{"tag", "output"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is declared above
		}
	}
	return c
}

package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/skiffcluster/skiff/internal/ociimage"
)

func newImage() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Images of a cluster's nodes"}
	c.AddCommand(newImageBuild())
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
	f.StringSliceVar(&s.Links, "link", nil, "further names of the program in /bin")
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

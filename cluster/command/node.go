package command

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/skiffcluster/skiff/cluster"
)

func newNode() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Nodes that share a machine", Hidden: true}
	c.AddCommand(&cobra.Command{
		Use: "run FILE", Short: "Run a node that 'skiff up --nodes' has made, on its host", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return cluster.RunHostedNode(c.Context(), args[0], os.Stdin, os.Stdout)
		},
	})
	return c
}

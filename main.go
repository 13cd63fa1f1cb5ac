// Command skiff is a Kubernetes-compatible cluster in one binary. See
// cluster/command for its commands and package cluster for the library.
package main

import (
	"os"

	"github.com/skiffcluster/skiff/cluster/command"
)

func main() { os.Exit(command.Main(command.Args(os.Args))) }

// Package command is skiff's command line: flags, signals and what is printed.
// One file holds one command or one family of them; each fills in the Config
// of package cluster or of a room and runs it.
//
// Every flag can also be given by an environment variable, SKIFF_ and the
// flag's name in capitals with underscores, and by a line in the YAML file
// that --config names; the command line wins, then the environment.
//
// Reads and writes the kubeconfig, and below a cluster's data directory its
// lock and run file. Start at command.go.
package command

// Command skiff-kubectl is stock kubectl, built beside skiff: linked into
// skiff itself it would cost every process 43 MB and 15 ms.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // the auth-provider entries of kubeconfigs
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	// Plugins and preferences are read, and logged of, while the command is
	// being made: before its flags are parsed, which then tell of mistakes.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"
)

// exitError carries the exit code of a command that has said all itself.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line and gives the exit code: 0 when all went well, 1
// when something failed, 2 when the command line was wrong.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	klog.Flush()
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(os.Stderr, errorPrefix+err.Error())
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "unknown flag") {
		fmt.Fprintf(os.Stderr, "Run 'skiff %s--help' for usage.\n", subcommand(root, args))
		return exitUsage
	}
	return 1
}

const (
	exitUsage   = 2
	errorPrefix = "Error: "
)

// usageError is a command line that can't be understood.
type usageError struct{ error }

func subcommand(root *cobra.Command, args []string) string {
	c, _, err := root.Find(args)
	if err != nil || c == root {
		return ""
	}
	return strings.TrimPrefix(c.CommandPath(), "skiff ") + " "
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "skiff",
		Short: "A Kubernetes-compatible cluster in one binary",
		Long: `skiff is a Kubernetes-compatible cluster in one binary.

  skiff up            a whole cluster on this machine
  skiff server        an API server with its controllers and scheduler
  skiff controllers   the controllers, against any Kubernetes API server
  skiff kubectl …     stock kubectl`,
		SilenceErrors: true, SilenceUsage: true,
	}
	var file string
	var verbosity int
	root.PersistentFlags().StringVar(&file, "config", "", "YAML file with flags: one 'name: value' a line")
	root.PersistentFlags().IntVarP(&verbosity, "v", "v", 0, "verbosity of the log")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := setFlags(c.Flags(), file, os.Environ()); err != nil {
			return usageError{err}
		}
		tuneGC()
		setLog(os.Stderr, verbosity)
		return nil
	}
	root.AddCommand(newUp(), newStatus(), newStop(), newDelete(), newProfile(), newIP(), newService(),
		newImage(), newServer(), newAgent(), newToken(), newMaster(), newSnapshot(), newControllers(), newScheduler(), newProxy(), newNode(), newKubectl(), newKubeconfig(), newWebhook(), newEnvtest(), newVersion())
	return root
}

// setLog sends the log of every room to w.
func setLog(w io.Writer, verbosity int) {
	set := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(set)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "one_output": "true", "stderrthreshold": "FATAL", "v": strconv.Itoa(verbosity)} {
		_ = set.Set(name, value) // flags that klog declares itself
	}
	klog.SetOutput(w)
	klog.CopyStandardLogTo("INFO") // CoreDNS's plugins log by it
	ctrl.SetLogger(klog.NewKlogr())
}

// setFlags fills in the flags that the command line left out.
func setFlags(flags *pflag.FlagSet, file string, environ []string) error {
	values := map[string]string{}
	if file == "" {
		for _, e := range environ {
			if v, ok := strings.CutPrefix(e, "SKIFF_CONFIG="); ok {
				file = v
			}
		}
	}
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		var parsed map[string]any
		if err := yaml.UnmarshalStrict(raw, &parsed); err != nil {
			return fmt.Errorf("configuration %s: %w", file, err)
		}
		for name, v := range parsed {
			if flags.Lookup(name) == nil {
				return fmt.Errorf("configuration %s: there is no flag %q here", file, name)
			}
			if list, ok := v.([]any); ok {
				var parts []string
				for _, p := range list {
					parts = append(parts, fmt.Sprint(p))
				}
				v = strings.Join(parts, ",")
			}
			values[name] = fmt.Sprint(v)
		}
	}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if name, ok := strings.CutPrefix(name, "SKIFF_"); ok {
			if known := strings.ToLower(strings.ReplaceAll(name, "_", "-")); flags.Lookup(known) != nil {
				values[known] = value
			}
		}
	}
	for name, value := range values {
		if flags.Changed(name) {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("flag --%s: %w", name, err)
		}
	}
	return nil
}

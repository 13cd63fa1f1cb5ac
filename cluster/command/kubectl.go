package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skiffcluster/skiff/apiserver"
)

// version is the build's own, set by the linker.
var version = "dev"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintf(c.OutOrStdout(), "skiff %s (Kubernetes %s, %s, %s/%s)\n", version, apiserver.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl …", Short: "Stock kubectl", DisableFlagParsing: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := beside("skiff-kubectl")
			if err != nil {
				return err
			}
			return syscall.Exec(path, append([]string{"kubectl"}, args...), os.Environ())
		},
	}
}

// beside finds a program that is installed with this one.
func beside(name string) (string, error) {
	self, err := ownPath()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%s is not beside skiff in %s: 'make build' builds both", name, filepath.Dir(self))
		}
		return "", err
	}
	return path, nil
}

// ownPath is this program's file.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("find own executable: %w", err)
	}
	return self, nil
}

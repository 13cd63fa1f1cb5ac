package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

// What envtest starts, by their names in KUBEBUILDER_ASSETS.
const (
	programEtcd      = "etcd"
	programAPIServer = "kube-apiserver"
	programKubectl   = "kubectl"
)

// Args are the arguments for [Main] of a program that was called as argv says:
// skiff, or one of those that envtest starts.
func Args(argv []string) []string {
	switch name := filepath.Base(argv[0]); name {
	case programEtcd, programAPIServer:
		return append([]string{"envtest", name}, argv[1:]...)
	default:
		return argv[1:]
	}
}

func newEnvtest() *cobra.Command {
	c := &cobra.Command{
		Use: "envtest", Short: "Make the directory of programs that controller-runtime's envtest starts", Args: cobra.NoArgs,
		Long: `Print a directory that has this program by the names etcd and kube-apiserver,
and kubectl, so that tests with controller-runtime's envtest need no change and
nothing downloaded. It is made when it is not there.

The API server runs alone, as envtest's does: nothing acts on what a test
creates.`,
		Example: "  KUBEBUILDER_ASSETS=$(skiff envtest) go test ./...",
	}
	dir := c.Flags().String("dir", "", "the directory (default: one of the user's cache)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *dir == "" {
			cache, err := os.UserCacheDir()
			if err != nil {
				return usageError{fmt.Errorf("--dir: %w", err)}
			}
			*dir = filepath.Join(cache, "skiff", "envtest")
		}
		path, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("--dir %s: %w", *dir, err)
		}
		if err := linkPrograms(path); err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), path)
		return nil
	}
	c.AddCommand(newEnvtestEtcd(), newEnvtestAPIServer())
	return c
}

// linkPrograms makes dir with what envtest starts.
func linkPrograms(dir string) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	kubectl, err := beside("skiff-kubectl")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("programs for envtest: %w", err)
	}
	for name, target := range map[string]string{programEtcd: self, programAPIServer: self, programKubectl: kubectl} {
		if err := link(target, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("programs for envtest: %w", err)
		}
	}
	return nil
}

// link makes path a symbolic link to target. What is there and no link is not
// touched.
func link(target, path string) error {
	switch have, err := os.Readlink(path); {
	case err == nil && have == target:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is there and not a link of skiff's: %w", path, err)
	}
	beside, err := os.MkdirTemp(filepath.Dir(path), ".link-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(beside) }()
	made := filepath.Join(beside, filepath.Base(path))
	if err := os.Symlink(target, made); err != nil {
		return err
	}
	return os.Rename(made, path) // another test may be starting what was there
}

// quickElection are flags of an etcd that has nobody to hear from and is waited
// for: by default it would wait a second for another leader.
var quickElection = []string{"--heartbeat-interval=20", "--election-timeout=200"}

func newEnvtestEtcd() *cobra.Command {
	return &cobra.Command{
		Use: programEtcd, Short: "etcd, with all of its flags", Hidden: true, DisableFlagParsing: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		Run: func(_ *cobra.Command, args []string) {
			etcdmain.Main(append(append([]string{programEtcd}, quickElection...), args...))
		},
	}
}

// newEnvtestAPIServer is `skiff server` with the flags that envtest gives to
// kube-apiserver.
func newEnvtestAPIServer() *cobra.Command {
	c := newServer()
	c.Use, c.Short, c.Long, c.Hidden = programAPIServer, "An API server with the flags that envtest gives it", "", true
	f := c.Flags()
	certs := f.String("cert-dir", "", "where apiserver.crt and apiserver.key are, if the server has a certificate already, and where it keeps what is its own")
	f.Bool("allow-privileged", true, "let containers be privileged")
	serve := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if may, _ := f.GetBool("allow-privileged"); !may {
			return usageError{errors.New("--allow-privileged=false: privileged containers are always let in; use admission (PodSecurity)")}
		}
		values := map[string]string{"without": "controllers,scheduler"}
		if *certs != "" {
			values["data-dir"] = filepath.Join(*certs, "skiff")
			if serving := filepath.Join(*certs, "apiserver"); !f.Changed("tls-cert-file") && exists(serving+".crt") {
				values["tls-cert-file"], values["tls-private-key-file"] = serving+".crt", serving+".key"
			}
		}
		for name, value := range values {
			if err := f.Set(name, value); err != nil {
				return fmt.Errorf("--%s: %w", name, err)
			}
		}
		return serve(c, args)
	}
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

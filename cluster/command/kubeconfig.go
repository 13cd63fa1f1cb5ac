package command

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skiffcluster/skiff/cluster"
)

// writeKubeconfig puts a cluster's context into a kubeconfig and makes it the
// current one. Other clusters in the file stay.
func writeKubeconfig(path, name string, access cluster.Access) error {
	config := clientcmdapi.NewConfig()
	if existing, err := clientcmd.LoadFromFile(path); err == nil {
		config = existing
	} else if !os.IsNotExist(err) {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	access.AddTo(config, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, raw, 0o600); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return nil
}

// removeKubeconfig takes a cluster's context out again.
func removeKubeconfig(path, name string) error {
	config, err := clientcmd.LoadFromFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if config.Contexts[name] == nil {
		return nil
	}
	delete(config.Clusters, name)
	delete(config.AuthInfos, name)
	delete(config.Contexts, name)
	if config.CurrentContext == name {
		config.CurrentContext = ""
	}
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return nil
}

// kubeconfigPath is where kubectl looks for its configuration.
func kubeconfigPath() string {
	if list := filepath.SplitList(os.Getenv(clientcmd.RecommendedConfigPathEnvVar)); len(list) > 0 && list[0] != "" {
		return list[0]
	}
	return clientcmd.RecommendedHomeFile
}

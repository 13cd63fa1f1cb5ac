package upstream

import (
	"crypto/x509/pkix"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/pki"
)

// keys are files that Kubernetes' servers are given.
type keys struct {
	ca, cert, key, account, kubeconfig string
}

// writeKeys makes a CA, a serving certificate, a service-account key and an
// administrator's kubeconfig for a server, of the kinds that skiff uses itself.
func writeKeys(dir, server string) (keys, error) {
	store, err := pki.Open(dir, clock.RealClock{})
	if err != nil {
		return keys{}, err
	}
	if _, err := store.Serving("server", pkix.Name{CommonName: "kube-apiserver"}, "127.0.0.1"); err != nil {
		return keys{}, err
	}
	admin, err := store.Client("admin", "admin", "system:masters")
	if err != nil {
		return keys{}, err
	}
	if _, err := store.SigningKey("account"); err != nil {
		return keys{}, err
	}
	k := keys{kubeconfig: filepath.Join(dir, "kubeconfig")}
	k.ca, _ = store.Files("ca")
	k.cert, k.key = store.Files("server")
	_, k.account = store.Files("account")
	pair := admin.Current()
	return k, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server, CertificateAuthorityData: store.CA()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, k.kubeconfig)
}

package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Access is what a client outside this process needs, as a kubeconfig has it.
type Access struct {
	Server                    string // URL
	CA, ClientCert, ClientKey []byte // PEM
}

// Access gives an administrator's. A cluster that does not listen begins to, on
// a free port of 127.0.0.1.
func (c *Cluster) Access() (Access, error) {
	if err := c.Listen("127.0.0.1:0"); err != nil {
		return Access{}, err
	}
	l := c.listener()
	leaf, err := c.pki.Client("admin", "kubernetes-admin", user.SystemPrivilegedGroup)
	if err != nil {
		return Access{}, err
	}
	c.told.Do(func() { leaf.Notify(c.accessChanged) })
	admin := leaf.Current()
	host := c.config.APIServer.AdvertiseAddress
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return Access{}, fmt.Errorf("the API is served on %s, which is not TCP", l.Addr())
	}
	// A server on every address is reached here by the one that never changes.
	if host == nil || addr.IP.IsUnspecified() {
		host = net.IPv4(127, 0, 0, 1)
	}
	return Access{
		Server: "https://" + net.JoinHostPort(host.String(), strconv.Itoa(addr.Port)),
		CA:     c.pki.CA(), ClientCert: admin.Cert, ClientKey: admin.Key,
	}, nil
}

// AccessChanged gives a value when the administrator's certificate was made
// again, after Access was called: what was written of it is to be written anew.
func (c *Cluster) AccessChanged() <-chan struct{} { return c.access }

func (c *Cluster) accessChanged() {
	select {
	case c.access <- struct{}{}:
	default: // one is waiting
	}
}

// AdvertiseAddress is the address by which others reach a server that listens
// on bind: bind itself, or for every address the machine's first that is not
// of its own only, of the family of the services, since the API server is one of
// them. Without any it is loopback.
func AdvertiseAddress(bind net.IP, serviceClusterIPRange string) net.IP {
	if !bind.IsUnspecified() {
		return bind
	}
	services, err := first("", serviceClusterIPRange)
	is6 := err == nil && services.Addr().Is6()
	if ip := ownAddress(is6); ip != nil {
		return ip
	}
	if is6 {
		return net.IPv6loopback
	}
	return net.IPv4(127, 0, 0, 1)
}

// ownAddress is one by which others reach this machine; nil: it has none of the
// family.
func ownAddress(is6 bool) net.IP {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, l := range links {
		if l.Flags&net.FlagUp == 0 || l.Flags&net.FlagLoopback != 0 || ours(l.Name) {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && (n.IP.To4() == nil) == is6 && n.IP.IsGlobalUnicast() {
				return n.IP
			}
		}
	}
	return nil
}

// Kubeconfig is a kubeconfig with this access, whose one context has a name.
func (a Access) Kubeconfig(name string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	a.AddTo(config, name)
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return raw, nil
}

// AddTo puts this access into a kubeconfig as a context of that name, and makes
// it the current one.
func (a Access) AddTo(config *clientcmdapi.Config, name string) {
	config.Clusters[name] = &clientcmdapi.Cluster{Server: a.Server, CertificateAuthorityData: a.CA}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: a.ClientCert, ClientKeyData: a.ClientKey}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
}

// RESTConfig is for clients with this access.
func (a Access) RESTConfig() *restclient.Config {
	return &restclient.Config{
		Host:            a.Server,
		TLSClientConfig: restclient.TLSClientConfig{CAData: a.CA, CertData: a.ClientCert, KeyData: a.ClientKey},
	}
}

// ReadAccess gives the administrator's access to the cluster at server whose
// data is in dir.
func ReadAccess(dir, server string) (Access, error) {
	a := Access{Server: server}
	for file, into := range map[string]*[]byte{"ca.crt": &a.CA, "admin.crt": &a.ClientCert, "admin.key": &a.ClientKey} {
		raw, err := os.ReadFile(filepath.Join(dir, "pki", file))
		if err != nil {
			return Access{}, fmt.Errorf("certificates of the cluster: %w", err)
		}
		*into = raw
	}
	return a, nil
}

// ours says whether a network link is one that skiff made.
func ours(link string) bool { return strings.HasPrefix(link, "skiff") }

package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"
)

// Access is what a client outside this process needs, as a kubeconfig has it.
type Access struct {
	Server                    string // URL
	CA, ClientCert, ClientKey []byte // PEM
}

// Access gives an administrator's. The cluster must listen.
func (c *Cluster) Access() (Access, error) {
	l := c.config.APIServer.Listener
	if l == nil {
		return Access{}, errors.New("the cluster does not listen: set Config.Listen")
	}
	admin, err := c.pki.Client("admin", "kubernetes-admin", user.SystemPrivilegedGroup)
	if err != nil {
		return Access{}, err
	}
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

// AdvertiseAddress is the address by which others reach a server that listens
// on bind: bind itself, or for every address the machine's first that is not
// of its own only. Without any it is loopback.
func AdvertiseAddress(bind net.IP) net.IP {
	if !bind.IsUnspecified() {
		return bind
	}
	links, err := net.Interfaces()
	if err != nil {
		return net.IPv4(127, 0, 0, 1)
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
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
				return n.IP
			}
		}
	}
	return net.IPv4(127, 0, 0, 1)
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

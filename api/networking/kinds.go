package networking

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	return []*api.Kind{IPAddress.Erase(), ServiceCIDR.Erase(), Ingress.Erase(), IngressClass.Erase(), NetworkPolicy.Erase()}
}

package certificates

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	bundle, request := ClusterTrustBundle.Erase(), PodCertificateRequest.Erase()
	return []*api.Kind{
		CertificateSigningRequest.Erase(), bundle, request.In("v1"), bundle.In("v1beta1"), request,
	}
}

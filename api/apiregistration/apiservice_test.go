package apiregistration_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/apiregistration"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestAPIService(t *testing.T) {
	valid := func(change func(*apiregistrationv1.APIService)) *apiregistrationv1.APIService {
		s := &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: "v1.example.com"},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: "example.com", Version: "v1", GroupPriorityMinimum: 1000, VersionPriority: 15,
				Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "api"}, CABundle: []byte("ca"),
			},
		}
		if change != nil {
			change(s)
		}
		apiregistration.APIService.Default(s)
		return s
	}
	for _, c := range []struct {
		name   string
		change func(*apiregistrationv1.APIService)
		want   []string
	}{
		{"a service's", nil, nil},
		{"the server's own has no bundle", func(s *apiregistrationv1.APIService) { s.Spec.Service = nil }, []string{
			`spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle`,
		}},
		{"the name says what it is of", func(s *apiregistrationv1.APIService) { s.Name = "v2.example.com" }, []string{
			"metadata.name: Invalid value: \"v2.example.com\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
		}},
		{"priorities are positive", func(s *apiregistrationv1.APIService) { s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 0, 1001 }, []string{
			"spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
			"spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
		}},
		{"a bundle is there to be used", func(s *apiregistrationv1.APIService) { s.Spec.InsecureSkipTLSVerify = true }, []string{
			"spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
		}},
		{"a service has a name and a port", func(s *apiregistrationv1.APIService) {
			s.Spec.Service = &apiregistrationv1.ServiceReference{Port: ptr.To[int32](0)}
		}, []string{
			"spec.service.namespace: Required value", "spec.service.name: Required value",
			"spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, apiregistration.APIService.Validate(valid(c.change)), c.want...)
		})
	}
	if s := valid(nil); *s.Spec.Service.Port != 443 {
		t.Errorf("port %d", *s.Spec.Service.Port)
	}
	local := valid(func(s *apiregistrationv1.APIService) { s.Spec.Service = nil })
	apiregistration.APIService.PrepareCreate(local)
	if len(local.Status.Conditions) != 1 || local.Status.Conditions[0].Reason != "Local" {
		t.Errorf("%+v", local.Status)
	}
}

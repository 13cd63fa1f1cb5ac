package apiserverinternal_test

import (
	"testing"

	apiserverinternalv1alpha1 "k8s.io/api/apiserverinternal/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/apiserverinternal"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestStorageVersions(t *testing.T) {
	server := func(id, encoding string, decodable ...string) apiserverinternalv1alpha1.ServerStorageVersion {
		return apiserverinternalv1alpha1.ServerStorageVersion{APIServerID: id, EncodingVersion: encoding, DecodableVersions: decodable}
	}
	k := apiserverinternal.StorageVersion
	for _, c := range []struct {
		name   string
		common *string
		list   []apiserverinternalv1alpha1.ServerStorageVersion
		want   []string
	}{
		{"nobody has told", nil, nil, nil},
		{"all agree", ptr.To("apps/v1"), []apiserverinternalv1alpha1.ServerStorageVersion{server("a", "apps/v1", "apps/v1"), server("b", "apps/v1", "apps/v1")}, nil},
		{
			"they do not agree", ptr.To("v1"), []apiserverinternalv1alpha1.ServerStorageVersion{server("a", "v1", "v1"), server("b", "v2", "v2")},
			[]string{`status.commonEncodingVersion: Invalid value: "v1": should be nil if servers do not agree`},
		},
		{"they agree and it is not said", nil, []apiserverinternalv1alpha1.ServerStorageVersion{server("a", "v1", "v1")}, []string{"status.commonEncodingVersion: Invalid value: null: the common encoding version is v1"}},
		{
			"one cannot read what it writes", ptr.To("v1"), []apiserverinternalv1alpha1.ServerStorageVersion{server("a", "v1"), server("a", "v1", "v1", "V")},
			[]string{
				"status.storageVersions[0].decodableVersions: Invalid value: null: decodableVersions must include encodingVersion v1",
				`status.storageVersions[1].apiServerID: Duplicate value: "a"`, `status.storageVersions[1].decodableVersions[1]: Invalid value: "V": version part: a DNS-1035 label`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, k.Validate(&apiserverinternalv1alpha1.StorageVersion{Status: apiserverinternalv1alpha1.StorageVersionStatus{StorageVersions: c.list, CommonEncodingVersion: c.common}}), c.want...)
		})
	}
	for name, faults := range map[string]int{"apps.deployments": 0, ".pods": 0, "pods": 1, "a.B": 1} {
		if got := len(k.NameValidation(name, false)); got != faults {
			t.Errorf("%s has %d faults", name, got)
		}
	}
}

package admission_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func matchConfigMaps() *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
		RuleWithOperations: configMaps(admissionregistrationv1.Create)[0],
	}}}
}

func TestValidatingPolicyRefusesByParameters(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	limits := configMap("limits")
	limits.Data = map[string]string{"name": "bad"}
	create(t, c, limits)
	create(t, c, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "names"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind:        &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			MatchConstraints: matchConfigMaps(),
			Variables:        []admissionregistrationv1.Variable{{Name: "start", Expression: "object.metadata.?generateName.orValue('')"}},
			Validations: []admissionregistrationv1.Validation{
				{Expression: "object.metadata.name != params.data.name", MessageExpression: "'no ' + params.data.name"},
				{Expression: "variables.start != 'try-'", Message: "no tries"},
			},
		},
	})
	allow := admissionregistrationv1.AllowAction
	create(t, c, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "names"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "names", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			ParamRef: &admissionregistrationv1.ParamRef{Name: "limits", Namespace: "default", ParameterNotFoundAction: &allow},
		},
	})
	refused(t, c)
	err := c.Create(t.Context(), configMap("bad"))
	if !strings.Contains(errText(err), "ValidatingAdmissionPolicy 'names' with binding 'names' denied request: no bad") {
		t.Errorf("create: %v", err)
	}
	create(t, c, configMap("good"))
}

func TestMutatingPolicyChangesObjects(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	create(t, c, &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			MatchConstraints: matchConfigMaps(), ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			Mutations: []admissionregistrationv1.Mutation{
				{
					PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
					ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
						Expression: `Object{metadata: Object.metadata{labels: {"applied": "yes"}}}`,
					},
				},
				{
					PatchType: admissionregistrationv1.PatchTypeJSONPatch,
					JSONPatch: &admissionregistrationv1.JSONPatch{
						Expression: `[JSONPatch{op: "add", path: "/metadata/labels/patched", value: "yes"}]`,
					},
				},
			},
		},
	})
	create(t, c, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "labels"},
	})
	eventually(t, "policy in force", func() error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: "default"}}
		if err := c.Create(t.Context(), cm); err != nil {
			t.Fatalf("a request beside the first policy is refused: %v", err)
		}
		if cm.Labels["applied"] != "yes" || cm.Labels["patched"] != "yes" {
			return wrong("labels are not those of the policy")
		}
		return nil
	})
}

func TestPoliciesThatDoNotCompileAreRefused(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	for _, tt := range []struct {
		name   string
		policy client.Object
		want   string
	}{
		{"a validation that gives no bool", &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: matchConfigMaps(), Validations: []admissionregistrationv1.Validation{{Expression: "'a'"}},
			},
		}, `spec.validations[0].expression: Invalid value: "'a'": must evaluate to bool`},
		{"a variable that is not declared", &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: matchConfigMaps(), Variables: []admissionregistrationv1.Variable{{Name: "a", Expression: "1"}},
				Validations: []admissionregistrationv1.Validation{{Expression: "variables.b == 1"}},
			},
		}, "undefined field 'b'"},
		{"a mutation that gives no object", &admissionregistrationv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints: matchConfigMaps(), ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
				Mutations: []admissionregistrationv1.Mutation{{
					PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: "true"},
				}},
			},
		}, "spec.mutations[0].applyConfiguration.expression: Invalid value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.Create(t.Context(), tt.policy); !strings.Contains(errText(err), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

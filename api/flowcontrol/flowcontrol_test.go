package flowcontrol_test

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/flowcontrol"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestFlowSchema(t *testing.T) {
	subject := flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "ann"}}
	rule := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, Namespaces: []string{"*"}}
	valid := func(change func(*flowcontrolv1.FlowSchema)) *flowcontrolv1.FlowSchema {
		f := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "global-default"},
			Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{{Subjects: []flowcontrolv1.Subject{subject}, ResourceRules: []flowcontrolv1.ResourcePolicyRule{rule}}},
		}}
		flowcontrol.FlowSchema.Default(f)
		change(f)
		return f
	}
	for _, c := range []struct {
		name   string
		change func(*flowcontrolv1.FlowSchema)
		want   []string
	}{
		{"a user's pods", func(*flowcontrolv1.FlowSchema) {}, nil},
		{"precedence has its bounds", func(f *flowcontrolv1.FlowSchema) { f.Spec.MatchingPrecedence = 10001 }, []string{
			"spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
		}},
		{"the first place is taken", func(f *flowcontrolv1.FlowSchema) { f.Spec.MatchingPrecedence = 1 }, []string{
			"spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
		}},
		{"flows are told apart by user or namespace", func(f *flowcontrolv1.FlowSchema) {
			f.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: "ByMood"}
		}, []string{`spec.distinguisherMethod.type: Unsupported value: {"type":"ByMood"}: supported values: "ByNamespace", "ByUser"`}},
		{"a level is named", func(f *flowcontrolv1.FlowSchema) { f.Spec.PriorityLevelConfiguration.Name = "" }, []string{
			"spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
		}},
		{"a subject has what its kind says", func(f *flowcontrolv1.FlowSchema) {
			f.Spec.Rules[0].Subjects[0] = flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, User: subject.User}
		}, []string{
			"spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
			"spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
		}},
		{"verbs are known and the wildcard stands alone", func(f *flowcontrolv1.FlowSchema) {
			r := &f.Spec.Rules[0].ResourceRules[0]
			r.Verbs, r.APIGroups, r.Namespaces = []string{"look"}, []string{"*", "apps"}, []string{"A"}
		}, []string{
			`spec.rules[0].resourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`,
			`spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other api groups`,
			`spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; `,
		}},
		{"paths begin with a slash", func(f *flowcontrolv1.FlowSchema) {
			f.Spec.Rules[0].NonResourceRules = []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"healthz", "/a*", "/b/*"}}}
		}, []string{
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "healthz": must start with slash`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/a*": wildcard can only do suffix matching`,
		}},
		{"a rule matches something", func(f *flowcontrolv1.FlowSchema) { f.Spec.Rules[0] = flowcontrolv1.PolicyRulesWithSubjects{} }, []string{
			"spec.rules[0].subjects: Required value: subjects must contain at least one value",
			"spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
		}},
		{"a condition has a type", func(f *flowcontrolv1.FlowSchema) {
			f.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{}}
		}, []string{"status.conditions[0].type: Required value"}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, flowcontrol.FlowSchema.Validate(valid(c.change)), c.want...) })
	}
}

func TestPriorityLevelConfiguration(t *testing.T) {
	level := func(name string, spec flowcontrolv1.PriorityLevelConfigurationSpec) *flowcontrolv1.PriorityLevelConfiguration {
		p := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		flowcontrol.PriorityLevelConfiguration.Default(p)
		return p
	}
	limited := func(change func(*flowcontrolv1.LimitedPriorityLevelConfiguration)) flowcontrolv1.PriorityLevelConfigurationSpec {
		l := &flowcontrolv1.LimitedPriorityLevelConfiguration{LimitResponse: flowcontrolv1.LimitResponse{
			Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{},
		}}
		change(l)
		return flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: l}
	}
	for _, c := range []struct {
		name  string
		level *flowcontrolv1.PriorityLevelConfiguration
		want  []string
	}{
		{"defaults are valid", level("mine", limited(func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {})), nil},
		{"only exempt is exempt", level("mine", flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementExempt}), []string{
			`spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if ` + "`name`" + ` is 'exempt'`,
		}},
		{"what has no type is not limited", level("mine", flowcontrolv1.PriorityLevelConfigurationSpec{Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{}}), []string{
			"spec.limited: Forbidden", "spec.type: Required value",
		}},
		{"a limit is given", level("mine", flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited}), []string{
			"spec.limited: Required value",
		}},
		{"who rejects does not queue", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Type = flowcontrolv1.LimitResponseTypeReject
		})), []string{"spec.limited.limitResponse.queuing: Forbidden"}},
		{"who queues needs queues", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Queuing = nil
		})), []string{"spec.limited.limitResponse.queuing: Required value"}},
		{"queues are only for who queues", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Type = "Wait"
		})), []string{`spec.limited.limitResponse.type: Unsupported value: "Wait": supported values: "Queue", "Reject"`, "spec.limited.limitResponse.queuing: Forbidden"}},
		{"what is limited is not exempt", level("mine", func() flowcontrolv1.PriorityLevelConfigurationSpec {
			s := limited(func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {})
			s.Exempt = &flowcontrolv1.ExemptPriorityLevelConfiguration{}
			return s
		}()), []string{"spec.exempt: Forbidden"}},
		{"shares and percents have their bounds", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.NominalConcurrencyShares, l.LendablePercent, l.BorrowingLimitPercent = ptr.To[int32](-1), ptr.To[int32](101), ptr.To[int32](-1)
		})), []string{
			"spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
			"spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
			"spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
		}},
		{"a hand is no larger than the deck", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Queuing.Queues = 4
		})), []string{"spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)"}},
		{"a hand can be dealt from one hash", level("mine", limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Queuing.Queues, l.LimitResponse.Queuing.HandSize = 512, 8
		})), []string{"spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, flowcontrol.PriorityLevelConfiguration.Validate(c.level), c.want...)
		})
	}
	q := level("mine", limited(func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {})).Spec.Limited
	if *q.NominalConcurrencyShares != 30 || *q.LimitResponse.Queuing != (flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 8, QueueLengthLimit: 50}) {
		t.Errorf("%+v", q)
	}
}

func TestAStatusChangesNoMetadata(t *testing.T) {
	old := metav1.ObjectMeta{Name: "a", ResourceVersion: "1"}
	now := metav1.ObjectMeta{Name: "a", Labels: map[string]string{"a": "b"}, DeletionGracePeriodSeconds: ptr.To[int64](5), ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "me"}}}
	s, p := &flowcontrolv1.FlowSchema{ObjectMeta: now}, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: now}
	flowcontrol.FlowSchema.Status.PrepareUpdate(s, &flowcontrolv1.FlowSchema{ObjectMeta: old})
	flowcontrol.PriorityLevelConfiguration.Status.PrepareUpdate(p, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: old})
	for _, m := range []metav1.ObjectMeta{s.ObjectMeta, p.ObjectMeta} {
		if m.Labels != nil || m.DeletionGracePeriodSeconds != nil || len(m.ManagedFields) != 1 {
			t.Errorf("%+v", m)
		}
	}
}

package flowcontrol

import (
	"math"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	defaultShares           = 30
	defaultQueues           = 64
	defaultHandSize         = 8
	defaultQueueLengthLimit = 50

	maxQueues = 10_000_000
	// maxHandBits is how many bits of a flow's hash deal its hand of queues
	// (k8s.io/apiserver/pkg/util/shufflesharding).
	maxHandBits = 60
)

// PriorityLevelConfiguration is a share of the requests served at a time.
var PriorityLevelConfiguration = api.Of[flowcontrolv1.PriorityLevelConfiguration]{
	Group: flowcontrolv1.GroupName, Version: "v1", Kind: "PriorityLevelConfiguration", Resource: "prioritylevelconfigurations",
	ClusterScoped: true,
	Generation:    true,

	Default:  defaultLevel,
	Validate: validateLevel,
	Status: &api.Status[flowcontrolv1.PriorityLevelConfiguration]{
		KeepMetadata:  true,
		PrepareUpdate: func(p, old *flowcontrolv1.PriorityLevelConfiguration) { keepMetadata(&p.ObjectMeta, &old.ObjectMeta) },
		Validate:      func(p, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return validateLevelStatus(p) },
	},

	Columns: []api.Column[flowcontrolv1.PriorityLevelConfiguration]{
		print.Name[flowcontrolv1.PriorityLevelConfiguration](),
		{
			Name: "Type", Description: flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"],
			Value: func(p *flowcontrolv1.PriorityLevelConfiguration) any { return string(p.Spec.Type) },
		},
		{
			Name: "NominalConcurrencyShares", Description: flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"],
			Value: func(p *flowcontrolv1.PriorityLevelConfiguration) any {
				if p.Spec.Limited == nil {
					return print.None
				}
				return int64(ptr.Deref(p.Spec.Limited.NominalConcurrencyShares, 0))
			},
		},
		queuing("Queues", "queues", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues }),
		queuing("HandSize", "handSize", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize }),
		queuing("QueueLengthLimit", "queueLengthLimit", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit }),
		print.Age[flowcontrolv1.PriorityLevelConfiguration](),
	},
}

// queuing is a column of a level that queues what it can't serve.
func queuing(name, fld string, value func(*flowcontrolv1.QueuingConfiguration) int32) api.Column[flowcontrolv1.PriorityLevelConfiguration] {
	return api.Column[flowcontrolv1.PriorityLevelConfiguration]{
		Name: name, Description: flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()[fld],
		Value: func(p *flowcontrolv1.PriorityLevelConfiguration) any {
			if p.Spec.Limited == nil || p.Spec.Limited.LimitResponse.Queuing == nil {
				return print.None
			}
			return int64(value(p.Spec.Limited.LimitResponse.Queuing))
		},
	}
}

func defaultLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		orElse(&e.NominalConcurrencyShares, 0)
		orElse(&e.LendablePercent, 0)
	}
	l := p.Spec.Limited
	if l == nil {
		return
	}
	orElse(&l.NominalConcurrencyShares, defaultShares)
	orElse(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		for _, v := range []struct {
			field *int32
			value int32
		}{{&q.Queues, defaultQueues}, {&q.HandSize, defaultHandSize}, {&q.QueueLengthLimit, defaultQueueLengthLimit}} {
			if *v.field == 0 {
				*v.field = v.value
			}
		}
	}
}

func orElse(v **int32, value int32) {
	if *v == nil {
		*v = &value
	}
}

func validateLevel(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var e validate.Errors
	spec, fld := &p.Spec, field.NewPath("spec")
	if (p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		e.Invalid(fld.Child("type"), spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			e.Forbidden(fld.Child("limited"), "must be nil if the type is not Limited")
		}
		if x := spec.Exempt; x != nil {
			share(&e, fld.Child("exempt", "nominalConcurrencyShares"), x.NominalConcurrencyShares)
			percent(&e, fld.Child("exempt", "lendablePercent"), x.LendablePercent)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			e.Declared().Forbidden(fld.Child("exempt"), "")
		}
		if spec.Limited == nil {
			e.Required(fld.Child("limited"), "")
		} else {
			validateLimited(&e, fld.Child("limited"), spec.Limited)
		}
	case "":
		if spec.Limited != nil {
			e.Forbidden(fld.Child("limited"), "")
		}
		e.Required(fld.Child("type"), "")
	default:
		validate.Enum(&e, fld.Child("type"), spec.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
		if spec.Limited != nil {
			e.Forbidden(fld.Child("limited"), "")
		}
	}
	e.Add(validateLevelStatus(p))
	return e.List()
}

func validateLimited(e *validate.Errors, fld *field.Path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
	share(e, fld.Child("nominalConcurrencyShares"), l.NominalConcurrencyShares)
	response, queuing := fld.Child("limitResponse"), fld.Child("limitResponse", "queuing")
	switch q := l.LimitResponse.Queuing; l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if q != nil {
			e.Declared().Forbidden(queuing, "")
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if q == nil {
			e.Declared().Required(queuing, "")
		} else {
			validateQueuing(e, queuing, q)
		}
	default:
		// Kubernetes tells that a member of a union is too many before its
		// discriminator is missing, and after it is unknown.
		if q != nil && l.LimitResponse.Type == "" {
			e.Declared().Forbidden(queuing, "")
		}
		validate.RequiredEnum(e.Declared(), response.Child("type"), l.LimitResponse.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
		if q != nil && l.LimitResponse.Type != "" {
			e.Declared().Forbidden(queuing, "")
		}
	}
	percent(e, fld.Child("lendablePercent"), l.LendablePercent)
	if b := l.BorrowingLimitPercent; b != nil && *b < 0 {
		e.Invalid(fld.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer")
	}
}

func validateQueuing(e *validate.Errors, fld *field.Path, q *flowcontrolv1.QueuingConfiguration) {
	const positive = "must be positive"
	if q.QueueLengthLimit <= 0 {
		e.Invalid(fld.Child("queueLengthLimit"), q.QueueLengthLimit, positive)
	}
	if q.Queues <= 0 {
		e.Invalid(fld.Child("queues"), q.Queues, positive)
	} else if q.Queues > maxQueues {
		e.Invalidf(fld.Child("queues"), q.Queues, "must not be greater than %d", maxQueues)
	}
	hand := fld.Child("handSize")
	switch bits := int(math.Ceil(math.Log2(float64(q.Queues)) * float64(q.HandSize))); {
	case q.HandSize <= 0:
		e.Invalid(hand, q.HandSize, positive)
	case q.HandSize > q.Queues:
		e.Invalidf(hand, q.HandSize, "should not be greater than queues (%d)", q.Queues)
	case bits > maxHandBits:
		e.Invalidf(hand, q.HandSize, "required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, maxHandBits)
	}
}

func share(e *validate.Errors, fld *field.Path, v *int32) {
	if v != nil && *v < 0 {
		e.Invalid(fld, *v, "must be a non-negative integer")
	}
}

func percent(e *validate.Errors, fld *field.Path, v *int32) {
	if v != nil && (*v < 0 || *v > 100) {
		e.Invalid(fld, *v, "must be between 0 and 100, inclusive")
	}
}

func validateLevelStatus(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var types []string
	for _, c := range p.Status.Conditions {
		types = append(types, string(c.Type))
	}
	return validateConditions(types)
}

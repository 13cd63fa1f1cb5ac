package core

import (
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// LimitRange bounds and defaults what single objects of a namespace ask for.
var LimitRange = api.Of[corev1.LimitRange]{
	Group: corev1.GroupName, Version: "v1", Kind: "LimitRange", Resource: "limitranges",
	ShortNames:     []string{"limits"},
	CreateOnUpdate: true,

	Default: defaultLimitRange,
	// Nobody needs to know the name of one.
	PrepareCreate: func(l *corev1.LimitRange) {
		if l.Name == "" {
			l.Name = string(uuid.NewUUID())
		}
	},
	Validate: validateLimitRange,
}

// defaultLimitRange derives the defaults of containers from the bounds: the
// limit from the maximum, the request from the limit, else from the minimum.
func defaultLimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundUp(list)
		}
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		fill(&item.Default, item.Max)
		fill(&item.DefaultRequest, item.Default)
		fill(&item.DefaultRequest, item.Min)
	}
}

// fill adds what list does not have.
func fill(list *corev1.ResourceList, from corev1.ResourceList) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	for name, q := range from {
		if _, there := (*list)[name]; !there {
			(*list)[name] = q.DeepCopy()
		}
	}
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var e validate.Errors
	seen := sets.New[corev1.LimitType]()
	for i := range l.Spec.Limits {
		item, fld := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		checkLimitType(&e, item.Type, fld.Child("type"))
		if seen.Has(item.Type) {
			e.Duplicate(fld.Child("type"), item.Type)
		}
		seen.Insert(item.Type)
		checkLimitItem(&e, item, fld)
	}
	return e.List()
}

func checkLimitType(e *validate.Errors, t corev1.LimitType, fld *field.Path) {
	before := e.Len()
	e.QualifiedName(fld, string(t))
	if e.Len() > before || strings.Contains(string(t), "/") {
		return
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		e.Invalid(fld, t, "must be a standard limit type or fully qualified")
	}
}

func checkLimitItem(e *validate.Errors, item *corev1.LimitRangeItem, fld *field.Path) {
	names := sets.New[corev1.ResourceName]()
	list := func(child string, list corev1.ResourceList) {
		for _, name := range validate.Keys(list) {
			p := fld.Child(child).Key(string(name))
			if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
				e.ContainerResourceName(p, name)
			} else {
				e.ResourceName(p, name)
			}
			names.Insert(name)
		}
	}
	list("max", item.Max)
	list("min", item.Min)
	if item.Type == corev1.LimitTypePod {
		if len(item.Default) > 0 {
			e.Forbidden(fld.Child("default"), "may not be specified when `type` is 'Pod'")
		}
		if len(item.DefaultRequest) > 0 {
			e.Forbidden(fld.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		}
	} else {
		list("default", item.Default)
		list("defaultRequest", item.DefaultRequest)
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, lo := item.Min[corev1.ResourceStorage]
		_, hi := item.Max[corev1.ResourceStorage]
		if !lo && !hi {
			e.Required(fld.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	list("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		checkLimits(e, item, name, fld)
	}
}

// checkLimits checks that min <= default request <= default limit <= max.
func checkLimits(e *validate.Errors, item *corev1.LimitRangeItem, name corev1.ResourceName, fld *field.Path) {
	type bound struct {
		resource.Quantity
		set bool
	}
	of := func(list corev1.ResourceList) bound { q, set := list[name]; return bound{q, set} }
	lo, hi, limit, request := of(item.Min), of(item.Max), of(item.Default), of(item.DefaultRequest)
	ratio := of(item.MaxLimitRequestRatio)
	order := func(child string, low, high, shown bound, lowName, highName string) {
		if low.set && high.set && low.Cmp(high.Quantity) > 0 {
			e.Invalidf(fld.Child(child).Key(string(name)), shown.String(), "%s value %s is greater than %s value %s",
				lowName, low.String(), highName, high.String())
		}
	}
	order("min", lo, hi, lo, "min", "max")
	order("defaultRequest", lo, request, request, "min", "default request")
	order("defaultRequest", request, hi, request, "default request", "max")
	order("defaultRequest", request, limit, request, "default request", "default limit")
	order("default", lo, limit, lo, "min", "default")
	order("default", limit, hi, hi, "default", "max")
	p := fld.Child("maxLimitRequestRatio").Key(string(name))
	if ratio.set && ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		e.Invalidf(p, ratio.String(), "ratio %s is less than 1", ratio.String())
	}
	if ratio.set && lo.set && hi.set {
		if most := hi.AsApproximateFloat64() / lo.AsApproximateFloat64(); !math.IsNaN(most) && ratio.AsApproximateFloat64() > most {
			e.Invalidf(p, ratio.String(), "ratio %s is greater than max/min = %f", ratio.String(), most)
		}
	}
	if !validate.Overcommits(name) && limit.set && request.set && limit.Cmp(request.Quantity) != 0 {
		e.Invalidf(fld.Child("defaultRequest").Key(string(name)), request.String(),
			"default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)
	}
}

package reviews

import (
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// labelRequirements are those of a selector that are understood, with an error
// of the others: without them the question is a wider one, so that no more is
// allowed.
func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s.RawSelector != "" {
		parsed, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		all, _ := parsed.Requirements()
		return all, nil
	}
	operators := map[metav1.LabelSelectorOperator]selection.Operator{
		metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	var out labels.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op, known := operators[r.Operator]
		if !known {
			errs = append(errs, fmt.Errorf("%q is not a valid label selector operator", r.Operator))
			continue
		}
		q, err := labels.NewRequirement(r.Key, op, r.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, *q)
	}
	return out, errors.Join(errs...)
}

// fieldRequirements are the same of fields, which are selected by one value
// each.
func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	operators := map[metav1.FieldSelectorOperator]selection.Operator{
		metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals,
	}
	var out fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op, known := operators[r.Operator]
		if !known || len(r.Values) != 1 {
			errs = append(errs, fmt.Errorf("field %s: not one value that it has, or has not", r.Key))
			continue
		}
		out = append(out, fields.Requirement{Field: r.Key, Operator: op, Value: r.Values[0]})
	}
	return out, errors.Join(errs...)
}

// ignored tells what went wrong with a question, and what of it was not asked.
func ignored(err error, a *authorizer.AttributesRecord) []string {
	var out []string
	if err != nil {
		out = append(out, err.Error())
	}
	note := func(selector string, understood int, err error) {
		switch {
		case err == nil:
		case understood > 0:
			out = append(out, "spec.resourceAttributes."+selector+" partially ignored due to parse error")
		default:
			out = append(out, "spec.resourceAttributes."+selector+" ignored due to parse error")
		}
	}
	note("fieldSelector", len(a.FieldSelectorRequirements), a.FieldSelectorParsingErr)
	note("labelSelector", len(a.LabelSelectorRequirements), a.LabelSelectorParsingErr)
	return out
}

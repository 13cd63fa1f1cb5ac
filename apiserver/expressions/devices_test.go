package expressions_test

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/resource"
	"github.com/skiffcluster/skiff/apiserver/expressions"
)

func kind(k *api.Kind) *api.Kind {
	expressions.Attach(k)
	return k
}

func TestDevicesAreChosenByExpressions(t *testing.T) {
	selector := func(expression string) []resourcev1.DeviceSelector {
		return []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: expression}}}
	}
	class := func(expression string) *resourcev1.DeviceClass {
		return &resourcev1.DeviceClass{Spec: resourcev1.DeviceClassSpec{Selectors: selector(expression)}}
	}
	claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
		Name: "a", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: "All", Selectors: selector("1")},
	}}}}}
	const costly = `device.attributes["a.example.com"].x.matches("[a-z]*") && [0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, ` +
		`[0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, [0,1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f >= 0))))))`
	classes, claims := kind(resource.DeviceClass.Erase()), kind(resource.ResourceClaim.Erase())
	for _, c := range []struct {
		name     string
		kind     *api.Kind
		obj, old runtime.Object
		want     []string
	}{
		{"one that compiles", classes, class(`device.driver == "d.example.com"`), nil, nil},
		{"one that does not", classes, class("device."), nil, []string{`spec.selectors[0].cel.expression: Invalid value: "device.": compilation failed`}},
		{"one that says neither yes nor no", claims, claim, nil, []string{`spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool`}},
		{"one that costs too much", classes, class(costly), nil, []string{"spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"}},
		{"one that was there before", classes, class("device."), class("device."), nil},
		{"one that comes later", classes, class("device."), class("true"), []string{`spec.selectors[0].cel.expression: Invalid value: "device."`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.old != nil {
				kindtest.Errors(t, c.kind.ValidateUpdate(t.Context(), c.obj, c.old), c.want...)
				return
			}
			kindtest.Errors(t, c.kind.Validate(t.Context(), c.obj), c.want...)
		})
	}
}

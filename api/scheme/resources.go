package scheme

import (
	"reflect"

	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
)

// copyPart copies a struct inside of an object that is built otherwise in
// another version, and says whether it is one. resource.k8s.io/v1beta1 has what
// a request wants beside its name, where later versions have it in a struct of
// its own, and with a device it is the other way round.
func copyPart(from, to any) (bool, error) {
	switch in := from.(type) {
	case *resourcev1beta1.Device:
		out := to.(*resourcev1.Device)
		out.Name = in.Name
		if in.Basic == nil {
			return true, nil
		}
		return true, copyStruct(elem(in.Basic), elem(out))
	case *resourcev1.Device:
		out, ok := to.(*resourcev1beta1.Device)
		if !ok {
			return false, nil
		}
		out.Name, out.Basic = in.Name, &resourcev1beta1.BasicDevice{}
		return true, copyStruct(elem(in), elem(out.Basic))
	case *resourcev1beta1.DeviceRequest:
		out, exactly := to.(*resourcev1.DeviceRequest), &resourcev1.ExactDeviceRequest{}
		if err := copyStruct(elem(in), elem(exactly)); err != nil {
			return true, err
		}
		if !elem(exactly).IsZero() {
			out.Exactly = exactly
		}
		return true, copyStruct(elem(in), elem(out))
	case *resourcev1.DeviceRequest:
		out, ok := to.(*resourcev1beta1.DeviceRequest)
		if !ok {
			return false, nil
		}
		if err := copyStruct(elem(in), elem(out)); err != nil || in.Exactly == nil {
			return true, err
		}
		return true, copyStruct(elem(in.Exactly), elem(out))
	}
	return false, nil
}

func elem(pointer any) reflect.Value { return reflect.ValueOf(pointer).Elem() }

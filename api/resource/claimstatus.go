package resource

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/validate"
)

// device names a device, or a share of one.
type device struct {
	Driver, Pool, Device string
	ShareID              string `json:",omitempty"`
}

// devices are those of an allocation.
func devices(a *resourcev1.AllocationResult) sets.Set[device] {
	out := sets.New[device]()
	if a != nil {
		for _, r := range a.Devices.Results {
			out.Insert(device{r.Driver, r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))})
		}
	}
	return out
}

// reported is the device that a status tells of.
func reported(d *resourcev1.AllocatedDeviceStatus) device {
	return device{d.Driver, d.Pool, d.Device, ptr.Deref(d.ShareID, "")}
}

// dropDevices forgets what drivers tell of devices that a claim no longer has.
func dropDevices(obj, old *resourcev1.ResourceClaim) {
	gone := devices(old.Status.Allocation).Difference(devices(obj.Status.Allocation))
	obj.Status.Devices = slices.DeleteFunc(obj.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool { return gone.Has(reported(&d)) })
	if len(obj.Status.Devices) == 0 {
		obj.Status.Devices = nil
	}
}

// checkClaimStatus checks what was given to a claim, and to whom.
func checkClaimStatus(obj, old *resourcev1.ResourceClaim) field.ErrorList {
	c, s, fld := newClaim(&validate.Errors{}, &obj.Spec.Devices), &obj.Status, field.NewPath("status")
	reserved := fld.Child("reservedFor")
	unique(c.Errors, s.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, reserved,
		func(r *resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID },
		func(r *resourcev1.ResourceClaimConsumerReference, p *field.Path) {
			c.Text(p.Child("resource"), r.Resource)
			c.Text(p.Child("name"), r.Name)
			c.Text(p.Child("uid"), string(r.UID))
		})
	c.checkDevices(s, fld.Child("devices"))
	added := func(r resourcev1.ResourceClaimConsumerReference) bool {
		return !slices.Contains(old.Status.ReservedFor, r)
	}
	switch {
	case len(s.ReservedFor) > 0 && s.Allocation == nil:
		c.Forbidden(reserved, "may not be specified when `allocated` is not set")
	case obj.DeletionTimestamp != nil && slices.ContainsFunc(s.ReservedFor, added):
		c.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
	}
	switch p := fld.Child("allocation"); {
	case s.Allocation != nil && old.Status.Allocation != nil:
		if !apiequality.Semantic.DeepEqual(s.Allocation, old.Status.Allocation) {
			c.Declared().Invalid(p, nil, "field cannot be modified once set")
		}
	case s.Allocation != nil:
		c.checkAllocation(s.Allocation, p)
	}
	return c.List()
}

// checkDevices checks what drivers tell about the devices that were given.
func (c *claim) checkDevices(s *resourcev1.ResourceClaimStatus, fld *field.Path) {
	given := devices(s.Allocation)
	unique(c.Errors, s.Devices, len(s.Devices), fld, reported, func(d *resourcev1.AllocatedDeviceStatus, p *field.Path) {
		c.DriverName(p.Child("driver"), d.Driver)
		checkPool(c.Errors, d.Pool, p.Child("pool"))
		c.DNSLabel(p.Child("device"), d.Device)
		if d.ShareID != nil {
			checkUID(c.Errors, *d.ShareID, p.Child("shareID"))
		}
		if id := reported(d); !given.Has(id) {
			c.Invalid(p, id, "must be an allocated device in the claim")
		}
		if n := len(d.Conditions); n > resourcev1.AllocatedDeviceStatusMaxConditions {
			c.TooMany(p.Child("conditions"), n, resourcev1.AllocatedDeviceStatusMaxConditions)
		}
		c.Add(metav1validation.ValidateConditions(d.Conditions, p.Child("conditions")))
		if d.Data != nil && len(d.Data.Raw) > 0 {
			checkRaw(c.Errors, d.Data.Raw, false, resourcev1.AllocatedDeviceStatusDataMaxLength, p.Child("data"))
		}
		if d.NetworkData != nil {
			c.checkNetwork(d.NetworkData, p.Child("networkData"))
		}
	})
}

func (c *claim) checkNetwork(n *resourcev1.NetworkDeviceData, p *field.Path) {
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		c.TooLong(p.Child("interfaceName"), resourcev1.NetworkDeviceDataInterfaceNameMaxLength)
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		c.TooLong(p.Child("hardwareAddress"), resourcev1.NetworkDeviceDataHardwareAddressMaxLength)
	}
	unique(c.Errors, n.IPs, resourcev1.NetworkDeviceDataMaxIPs, p.Child("ips"), itself, func(address *string, p *field.Path) {
		c.Add(validation.IsValidInterfaceAddress(p, *address))
	})
}

// checkAllocation checks a new allocation; a stored one cannot change.
func (c *claim) checkAllocation(a *resourcev1.AllocationResult, fld *field.Path) {
	p := fld.Child("devices")
	each(c.Errors, a.Devices.Results, resourcev1.AllocationResultsMaxSize, p.Child("results"),
		func(r *resourcev1.DeviceRequestAllocationResult, p *field.Path) {
			c.checkReference(r.Request, p.Child("request"))
			checkDriver(c.Errors, r.Driver, p.Child("driver"))
			checkPool(c.Declared(), r.Pool, p.Child("pool"))
			c.DNSLabel(p.Child("device"), r.Device)
			checkBindingConditions(c.Errors, r.BindingConditions, r.BindingFailureConditions, p)
			checkTolerations(c.Errors, r.Tolerations, p.Child("tolerations"))
			if r.ShareID != nil {
				checkUID(c.Errors, string(*r.ShareID), p.Child("shareID"))
			}
			checkSkipped(c.Errors, r.SkipNodeOperations, p.Child("skipNodeOperations"))
		})
	// Twice the size: of the class and of the claim.
	each(c.Errors, a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, p.Child("config"),
		func(k *resourcev1.DeviceAllocationConfiguration, p *field.Path) {
			validate.RequiredEnum(c.Declared(), p.Child("source"), k.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			c.checkReferences(k.Requests, p.Child("requests"))
			checkConfiguration(c.Errors, &k.DeviceConfiguration, false, p)
		})
	if a.NodeSelector != nil {
		c.Add(core.ValidateNodeSelector(a.NodeSelector, fld.Child("nodeSelector")))
	}
}

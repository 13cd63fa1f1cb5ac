package api

import (
	"context"
	"reflect"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Of declares the kind whose Go type is T. Every function may be nil, which
// means that there is nothing to do; none may keep or share its arguments.
type Of[T any] struct {
	// Names.
	Group      string
	Version    string
	Kind       string
	Resource   string   // plural, lower case: "deployments"
	Singular   string   // empty: the kind in lower case
	ShortNames []string // as `kubectl get` accepts them
	Categories []string // "all" makes `kubectl get all` list it

	// ClusterScoped kinds live outside namespaces.
	ClusterScoped bool

	// StorageVersion is the group and version that objects are stored in when
	// it is not the one above. Kinds that are served in several groups or
	// versions name the same one in each, and share one store.
	StorageVersion schema.GroupVersion
	// StorageResource is the resource whose objects these are, when it is
	// another group's (events of events.k8s.io are the core group's).
	StorageResource schema.GroupResource

	// Default fills what a client left out. It also runs on objects read from
	// storage, so it must be idempotent.
	Default func(*T)

	// PrepareCreate changes a new object before validation: it clears what
	// clients may not set (a status, say). metadata.generation is set by the
	// registry when Generation is true.
	PrepareCreate func(*T)
	// PrepareUpdate carries over from old what an update of the main resource
	// may not change. The status is carried over by the registry when Status
	// is set.
	PrepareUpdate func(obj, old *T)
	// Reset are fields that an update of the main resource does not change,
	// beside a Status, so that nobody becomes their manager ("spec").
	Reset []string
	// Generation makes the registry count changes of anything but metadata and
	// status in metadata.generation.
	Generation bool

	// NameValidation checks metadata.name; nil means DNS subdomain
	// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
	NameValidation func(name string, prefix bool) []string
	// FreeFinalizers lets finalizers be names without a domain, which most
	// kinds refuse but for those of Kubernetes itself.
	FreeFinalizers bool
	// Validate checks a new object, everything but metadata, which the
	// registry checks. Error messages are those of Kubernetes.
	Validate func(*T) field.ErrorList
	// ValidateCreate checks what a new object may not begin with, though later
	// it may have it. It is a part of [Kind].Validate for objects without a
	// resourceVersion, which only new ones are.
	ValidateCreate func(*T) field.ErrorList
	// ValidateUpdate checks a change. The registry runs Validate as well.
	ValidateUpdate func(obj, old *T) field.ErrorList
	// ChangeFirst tells the errors of ValidateUpdate before those of Validate.
	ChangeFirst bool
	// Warnings are told to the client on create (old is nil) and update.
	Warnings func(obj, old *T) []string

	// Status, when not nil, makes the kind have the status subresource.
	Status *Status[T]
	// Scale, when not nil, makes the kind have the scale subresource.
	Scale *Scale[T]

	// DeleteGrace, when not nil, gives the seconds that a deletion waits for
	// with the object still there, when asked is what the client asked for
	// (nil: nothing). Only pods have it.
	DeleteGrace func(obj *T, asked *int64) int64
	// ReturnDeleted answers a deletion with the object instead of a Status.
	ReturnDeleted bool
	// OrphanByDefault is what garbage collection did before propagation
	// policies for some kinds (ReplicationController, batch/v1 Job).
	OrphanByDefault bool
	// OrphanWarning tells a client that relies on OrphanByDefault.
	OrphanWarning string
	// Uncollected objects have no dependents: no deletion waits for any.
	Uncollected bool

	// Fields are the values that field selectors match beside metadata.name
	// and metadata.namespace. All keys are present in every result.
	Fields func(*T) fields.Set
	// Indexed names the Fields that many watches select by; each gets an index.
	Indexed []string

	// Columns are printed by `kubectl get`. One of them is the name
	// (print.Name); none is added. Without any the name and age are printed.
	Columns []Column[T]
	// Order is that of the rows of a list's table; nil: the list's own.
	Order func(a, b *T) int
	// RowConditions say what is special about an object in a table; nil: nothing
	// ever is.
	RowConditions func(*T) []metav1.TableRowCondition

	// NoUnconditionalUpdate refuses an update without
	// metadata.resourceVersion; few kinds do.
	NoUnconditionalUpdate bool
	// CreateOnUpdate allows PUT to create (Lease, Endpoints, Event…).
	CreateOnUpdate bool
	// NoDeleteCollection leaves out the deletion of all objects at once.
	NoDeleteCollection bool
}

// Status is the status subresource of T.
type Status[T any] struct {
	// KeepMetadata makes a status update change no metadata; else it may.
	KeepMetadata bool
	// Keep are the fields of metadata that it does not change, for kinds that
	// keep some ("labels").
	Keep []string
	// PrepareUpdate keeps from old what a status update may not change beside
	// everything outside status, which the registry keeps.
	PrepareUpdate func(obj, old *T)
	// Validate checks a change of status.
	Validate func(obj, old *T) field.ErrorList
	// ResetOnCreate is what a new object's status becomes; nil clears it.
	ResetOnCreate func(*T)
	// FreeFinalizers lets an update of the status set finalizers that one of
	// the main resource refuses.
	FreeFinalizers bool
	// NoTable refuses to print the subresource as a table, as Kubernetes does
	// for some kinds.
	NoTable bool
}

// Scale is the scale subresource of T: how its replicas are read and set.
type Scale[T any] struct {
	// Get fills spec and status of the autoscaling/v1 Scale; the registry
	// fills its metadata.
	Get func(*T) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus)
	// Set changes spec.replicas.
	Set func(obj *T, replicas int32)
	// Path is the JSON path of the replicas field, for managed fields:
	// ["spec", "replicas"].
	Path []string
}

// Column is one column of a printed table.
type Column[T any] struct {
	Name     string // as printed by kubectl, before it is made upper case
	Type     string // an OpenAPI type: "string" (when empty), "integer", "date"
	Format   string // "name" for the first column
	Priority int32  // above 0: only with -o wide
	// Description is shown by clients that ask for the table itself.
	Description string
	// Value is the cell: a string, an int64 or a metav1.Time, which is printed
	// as an age.
	Value func(*T) any
	// Among, when not nil, is the cell in the table of a list, which all are in.
	Among func(obj *T, all []*T) any
}

// Kind is an [Of] without its type: what the registry works with. Objects
// given to its functions are of the Go type of New.
type Kind struct {
	GVK                   schema.GroupVersionKind
	GVR                   schema.GroupVersionResource
	Singular              string
	ShortNames            []string
	Categories            []string
	Namespaced            bool
	StorageVersion        schema.GroupVersion
	StorageResource       schema.GroupResource
	Generation            bool
	OrphanByDefault       bool
	OrphanWarning         string
	Uncollected           bool
	NoUnconditionalUpdate bool
	CreateOnUpdate        bool
	NoDeleteCollection    bool
	FreeFinalizers        bool
	ChangeFirst           bool
	ReturnDeleted         bool
	Indexed               []string
	Reset                 []string

	New     func() runtime.Object
	Default func(runtime.Object)

	NameValidation func(name string, prefix bool) []string
	PrepareCreate  func(context.Context, runtime.Object)
	PrepareUpdate  func(ctx context.Context, obj, old runtime.Object)
	Validate       func(context.Context, runtime.Object) field.ErrorList
	ValidateUpdate func(ctx context.Context, obj, old runtime.Object) field.ErrorList
	Warnings       func(ctx context.Context, obj, old runtime.Object) []string
	DeleteGrace    func(obj runtime.Object, asked *int64) int64
	Fields         func(runtime.Object) fields.Set
	Columns        []metav1.TableColumnDefinition
	// Cells are an object's row in the table of a list that all are in; of
	// one that is printed alone when there are none.
	Cells func(obj runtime.Object, all ...runtime.Object) []any
	// Order is nil where rows are in the list's order, RowConditions where rows
	// have none.
	Order         func(a, b runtime.Object) int
	RowConditions func(runtime.Object) []metav1.TableRowCondition

	Status *KindStatus
	Scale  *KindScale
}

// KindStatus is a [Status] without its type.
type KindStatus struct {
	KeepMetadata  bool
	Keep          []string
	ResetOnCreate func(runtime.Object)
	PrepareUpdate func(obj, old runtime.Object)
	Validate      func(obj, old runtime.Object) field.ErrorList
	NoTable       bool

	FreeFinalizers bool
}

// KindScale is a [Scale] without its type.
type KindScale struct {
	Get  func(runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus)
	Set  func(obj runtime.Object, replicas int32)
	Path []string
}

// Erase gives the declaration in the form that the registry works with.
func (o Of[T]) Erase() *Kind {
	gv := schema.GroupVersion{Group: o.Group, Version: o.Version}
	k := &Kind{
		GVK: gv.WithKind(o.Kind), GVR: gv.WithResource(o.Resource),
		Singular: o.Singular, ShortNames: o.ShortNames, Categories: o.Categories,
		Namespaced: !o.ClusterScoped, StorageVersion: o.StorageVersion, StorageResource: o.StorageResource,
		Generation: o.Generation, OrphanByDefault: o.OrphanByDefault, OrphanWarning: o.OrphanWarning, Uncollected: o.Uncollected,
		NoUnconditionalUpdate: o.NoUnconditionalUpdate, CreateOnUpdate: o.CreateOnUpdate,
		NoDeleteCollection: o.NoDeleteCollection, FreeFinalizers: o.FreeFinalizers, ChangeFirst: o.ChangeFirst, ReturnDeleted: o.ReturnDeleted, Indexed: o.Indexed, Reset: o.Reset, NameValidation: o.NameValidation,
		New: func() runtime.Object { return any(new(T)).(runtime.Object) },
	}
	if k.Singular == "" {
		k.Singular = strings.ToLower(o.Kind)
	}
	if k.StorageVersion.Empty() {
		k.StorageVersion = gv
	}
	if k.StorageResource.Empty() {
		k.StorageResource = k.GVR.GroupResource()
	}
	k.Default = one(o.Default)
	prepare := one(o.PrepareCreate)
	k.PrepareCreate = func(_ context.Context, obj runtime.Object) { prepare(obj) }
	carry := two(o.PrepareUpdate)
	k.PrepareUpdate = func(_ context.Context, obj, old runtime.Object) { carry(obj, old) }
	k.Validate = func(_ context.Context, obj runtime.Object) field.ErrorList {
		var errs field.ErrorList
		if o.Validate != nil {
			errs = o.Validate(of[T](obj))
		}
		if o.ValidateCreate != nil && obj.(metav1.Object).GetResourceVersion() == "" {
			errs = append(errs, o.ValidateCreate(of[T](obj))...)
		}
		return errs
	}
	check := check(o.ValidateUpdate)
	k.ValidateUpdate = func(_ context.Context, obj, old runtime.Object) field.ErrorList { return check(obj, old) }
	k.Warnings = func(_ context.Context, obj, old runtime.Object) []string {
		if o.Warnings == nil {
			return nil
		}
		return o.Warnings(of[T](obj), of[T](old))
	}
	if o.DeleteGrace != nil {
		k.DeleteGrace = func(obj runtime.Object, asked *int64) int64 { return o.DeleteGrace(of[T](obj), asked) }
	}
	k.Fields = func(obj runtime.Object) fields.Set {
		if o.Fields == nil {
			return fields.Set{}
		}
		return o.Fields(of[T](obj))
	}
	o.eraseColumns(k)
	o.eraseSubresources(k)
	return k
}

// In gives the same kind as a further version of its group serves it. Its
// objects live in the same store and are worked on in the same Go type;
// api/scheme converts what goes over the wire.
func (k *Kind) In(version string) *Kind {
	other := *k
	other.GVK.Version, other.GVR.Version = version, version
	if k.Status != nil {
		status := *k.Status
		other.Status = &status
	}
	return &other
}

// Prerelease says whether the version is an alpha or a beta, which servers
// only serve when told to.
func (k *Kind) Prerelease() bool {
	return strings.Contains(k.GVK.Version, "alpha") || strings.Contains(k.GVK.Version, "beta")
}

func (o Of[T]) eraseColumns(k *Kind) {
	columns := o.Columns
	for _, c := range columns {
		typ := c.Type
		if typ == "" {
			typ = "string"
		}
		k.Columns = append(k.Columns, metav1.TableColumnDefinition{
			Name: c.Name, Type: typ, Format: c.Format, Priority: c.Priority, Description: c.Description,
		})
	}
	k.Cells = func(obj runtime.Object, all ...runtime.Object) []any {
		cells := make([]any, len(columns))
		for i, c := range columns {
			if c.Among != nil && all != nil {
				cells[i] = c.Among(of[T](obj), allOf[T](all))
				continue
			}
			cells[i] = c.Value(of[T](obj))
		}
		return cells
	}
	if o.RowConditions != nil {
		k.RowConditions = func(obj runtime.Object) []metav1.TableRowCondition { return o.RowConditions(of[T](obj)) }
	}
	if o.Order != nil {
		k.Order = func(a, b runtime.Object) int { return o.Order(of[T](a), of[T](b)) }
	}
}

func (o Of[T]) eraseSubresources(k *Kind) {
	if s := o.Status; s != nil {
		k.Status = &KindStatus{KeepMetadata: s.KeepMetadata, Keep: s.Keep, PrepareUpdate: two(s.PrepareUpdate), Validate: check(s.Validate), ResetOnCreate: one(s.ResetOnCreate), NoTable: s.NoTable, FreeFinalizers: s.FreeFinalizers}
		if s.ResetOnCreate == nil {
			k.Status.ResetOnCreate = clearStatus
		}
	}
	if s := o.Scale; s != nil {
		k.Scale = &KindScale{
			Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus) {
				return s.Get(of[T](obj))
			},
			Set:  func(obj runtime.Object, replicas int32) { s.Set(of[T](obj), replicas) },
			Path: s.Path,
		}
	}
}

// of is the object as a *T, nil when there is none.
func of[T any](obj runtime.Object) *T {
	t, _ := any(obj).(*T)
	return t
}

func allOf[T any](objs []runtime.Object) []*T {
	out := make([]*T, len(objs))
	for i, obj := range objs {
		out[i] = of[T](obj)
	}
	return out
}

func one[T any](f func(*T)) func(runtime.Object) {
	if f == nil {
		return func(runtime.Object) {}
	}
	return func(obj runtime.Object) { f(of[T](obj)) }
}

func two[T any](f func(obj, old *T)) func(obj, old runtime.Object) {
	if f == nil {
		return func(_, _ runtime.Object) {}
	}
	return func(obj, old runtime.Object) { f(of[T](obj), of[T](old)) }
}

func check[T any](f func(obj, old *T) field.ErrorList) func(obj, old runtime.Object) field.ErrorList {
	if f == nil {
		return func(_, _ runtime.Object) field.ErrorList { return nil }
	}
	return func(obj, old runtime.Object) field.ErrorList { return f(of[T](obj), of[T](old)) }
}

func clearStatus(obj runtime.Object) {
	if f := reflect.ValueOf(obj).Elem().FieldByName("Status"); f.IsValid() {
		f.SetZero()
	}
}

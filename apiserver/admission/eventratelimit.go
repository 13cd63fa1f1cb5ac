package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/lru"
)

// eventRate takes no more than so many events in a second, so that a client that
// floods the server with them does no harm.
type eventRate struct {
	createOrUpdate
	limits []eventLimit
}

// eventLimit gives each key a bucket of its own.
type eventLimit struct {
	Type  string `json:"type"`
	QPS   int32  `json:"qps"`
	Burst int32  `json:"burst"`
	// CacheSize is how many keys are remembered, 4096 when 0.
	CacheSize int32 `json:"cacheSize,omitempty"`

	buckets *lru.Cache
}

// eventKeys are what each type of limit tells events apart by.
var eventKeys = map[string]func(admission.Attributes) string{
	"Server":    func(admission.Attributes) string { return "" },
	"Namespace": admission.Attributes.GetNamespace,
	"User":      func(a admission.Attributes) string { return a.GetUserInfo().GetName() },
	"SourceAndObject": func(a admission.Attributes) string {
		e, ok := a.GetObject().(*corev1.Event)
		if !ok {
			return ""
		}
		on := e.InvolvedObject
		return strings.Join([]string{e.Source.Component, e.Source.Host, on.Kind, on.Namespace, on.Name, string(on.UID), on.APIVersion}, "")
	},
}

func newEventRate(c Config) (admission.Interface, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`

		Limits []eventLimit `json:"limits"`
	}
	if err := c.configuration.into("EventRateLimit", "eventratelimit.admission.k8s.io/v1alpha1", &file); err != nil {
		return nil, err
	}
	var errs field.ErrorList
	limits := field.NewPath("limits")
	if len(file.Limits) == 0 {
		errs = append(errs, field.Invalid(limits, file.Limits, "must not be empty"))
	}
	for i := range file.Limits {
		l := &file.Limits[i]
		errs = append(errs, l.check(limits.Index(i))...)
		l.buckets = lru.New(int(l.CacheSize))
	}
	return &eventRate{limits: file.Limits}, errs.ToAggregate()
}

// check tells what is wrong with a limit, and fills in its default.
func (l *eventLimit) check(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if eventKeys[l.Type] == nil {
		errs = append(errs, field.NotSupported(path.Child("type"), l.Type, []string{"Namespace", "Server", "SourceAndObject", "User"}))
	}
	if l.Burst <= 0 {
		errs = append(errs, field.Invalid(path.Child("burst"), l.Burst, "must be positive"))
	}
	if l.QPS <= 0 {
		errs = append(errs, field.Invalid(path.Child("qps"), l.QPS, "must be positive"))
	}
	if l.CacheSize < 0 {
		errs = append(errs, field.Invalid(path.Child("cacheSize"), l.CacheSize, "must not be negative"))
	}
	if l.CacheSize <= 0 {
		l.CacheSize = 4096
	}
	return errs
}

// Validate implements admission.ValidationInterface.
func (e *eventRate) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetKind().GroupKind() != corev1.SchemeGroupVersion.WithKind("Event").GroupKind() || a.IsDryRun() {
		return nil
	}
	var errs []error
	for i := range e.limits {
		l := &e.limits[i]
		key := eventKeys[l.Type](a)
		if !l.bucket(key).TryAccept() {
			errs = append(errs, fmt.Errorf("limit reached on type %v for key %v", l.Type, key))
		}
	}
	if err := utilerrors.NewAggregate(errs); err != nil {
		return apierrors.NewTooManyRequestsError(err.Error())
	}
	return nil
}

// bucket is that of a key. Two first requests of one key at the same moment may
// get one each.
func (l *eventLimit) bucket(key string) flowcontrol.RateLimiter {
	if b, ok := l.buckets.Get(key); ok {
		return b.(flowcontrol.RateLimiter) //nolint:forcetypeassert // nothing else is put in
	}
	b := flowcontrol.NewTokenBucketRateLimiter(float32(l.QPS), int(l.Burst))
	l.buckets.Add(key, b)
	return b
}

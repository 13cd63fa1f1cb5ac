package resource

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// checkPool checks the name of a pool of devices: subdomains between slashes.
func checkPool(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Required(fld, "")
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		e.TooLong(fld, resourcev1.PoolNameMaxLength)
	}
	for part := range strings.SplitSeq(name, "/") {
		e.DNSSubdomain(fld, part)
	}
}

// checkDriver checks the name of a driver where Kubernetes declares its form in
// the type, in other words than those of e.DriverName.
func checkDriver(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Declared().Required(fld, "")
		return
	}
	e.Declared().Messages(fld, name, content.IsDNS1123SubdomainCaseless(name)) //nolint:staticcheck // Kubernetes takes such names, and so says it
	if utf8.RuneCountInString(name) > resourcev1.DriverNameMaxLength {
		e.Declared().Add(field.ErrorList{field.TooLongCharacters(fld, name, resourcev1.DriverNameMaxLength)})
	}
}

// checkQualified checks the name of an attribute: a C identifier, with the
// domain of a driver in front where full says so.
func checkQualified(e *validate.Errors, name string, full bool, fld *field.Path) {
	parts := strings.Split(name, "/")
	switch {
	case len(parts) > 2:
		e.Invalid(fld, name, "must not contain more than one slash")
	case len(parts) == 2 && parts[0] == "":
		e.Invalid(fld, "", "the domain must not be empty")
	case len(parts) == 2:
		e.DriverName(fld, parts[0])
	}
	switch id := parts[len(parts)-1]; {
	case len(parts) > 2:
	case len(parts) == 2 && id == "":
		e.Invalid(fld, "", "the name must not be empty")
	default:
		if len(id) > resourcev1.DeviceMaxIDLength {
			e.TooLong(fld, resourcev1.DeviceMaxIDLength)
		}
		e.Messages(fld, id, content.IsCIdentifier(id))
	}
	if full && len(parts) == 1 {
		e.Invalid(fld, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

// shortKey keeps the middle of a long key out of the path of an error.
func shortKey(key string, limit int) string {
	limit = max(limit, 16)
	if len(key) <= limit {
		return key
	}
	const gap = "..."
	kept := limit - len(gap)
	return key[:(kept+1)/2] + gap + key[len(key)-kept/2:]
}

func checkUID(e *validate.Errors, id string, fld *field.Path) {
	if err := uuid.Validate(id); err != nil {
		e.Invalidf(fld, id, "error validating uid: %v", err)
	} else if len(id) != 36 || id != strings.ToLower(id) {
		e.Invalid(fld, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

func checkLabelValue(e *validate.Errors, value string, fld *field.Path) {
	e.Messages(fld, value, validation.IsValidLabelValue(value))
}

// checkRaw checks data of a driver: a JSON object. Data that was stored before
// may be longer than limit.
func checkRaw(e *validate.Errors, raw []byte, stored bool, limit int, fld *field.Path) {
	var v any
	switch {
	case len(raw) == 0:
		e.Required(fld, "")
		return
	case !stored && len(raw) > limit:
		e.TooLong(fld, limit)
		return
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		e.Invalid(fld, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
		return
	}
	if _, ok := v.(map[string]any); v == nil {
		e.Required(fld, "")
	} else if !ok {
		e.Invalid(fld, "<value omitted>", "must be a valid JSON object")
	}
}

package core

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilsysctl "k8s.io/component-helpers/node/util/sysctl"

	"github.com/skiffcluster/skiff/api/validate"
)

// checkPodSecurityContext checks what holds for all containers of the pod.
func (s *podSpec) checkPodSecurityContext(p *field.Path) {
	sc := s.spec.SecurityContext
	if sc == nil {
		return
	}
	s.GroupID(p.Child("fsGroup"), sc.FSGroup)
	s.UserID(p.Child("runAsUser"), sc.RunAsUser)
	s.GroupID(p.Child("runAsGroup"), sc.RunAsGroup)
	for i := range sc.SupplementalGroups {
		s.GroupID(p.Child("supplementalGroups").Index(i), &sc.SupplementalGroups[i])
	}
	s.checkSysctls(sc.Sysctls, p.Child("sysctls"))
	if v := sc.FSGroupChangePolicy; v != nil {
		validate.Enum(&s.Errors, p.Child("fsGroupChangePolicy"), *v, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	s.checkSeccomp(sc.SeccompProfile, p.Child("seccompProfile"))
	s.checkWindowsOptions(sc.WindowsOptions, p.Child("windowsOptions"))
	s.Add(validateAppArmor(sc.AppArmorProfile, p.Child("appArmorProfile")))
	if v := sc.SupplementalGroupsPolicy; v != nil {
		validate.Enum(&s.Errors, p.Child("supplementalGroupsPolicy"), *v,
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if v := sc.SELinuxChangePolicy; v != nil {
		validate.Enum(&s.Errors, p.Child("seLinuxChangePolicy"), *v,
			corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
}

// checkSecurityContext checks what one container may do.
func (s *podSpec) checkSecurityContext(sc *corev1.SecurityContext, p *field.Path) {
	if sc == nil {
		return
	}
	s.UserID(p.Child("runAsUser"), sc.RunAsUser)
	s.GroupID(p.Child("runAsGroup"), sc.RunAsGroup)
	if m := sc.ProcMount; m != nil {
		validate.Enum(&s.Errors, p.Child("procMount"), *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if s.hostUsers && *m == corev1.UnmaskedProcMount {
			s.Invalid(p.Child("procMount"), *m, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	s.checkSeccomp(sc.SeccompProfile, p.Child("seccompProfile"))
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		s.checkNoEscalation(sc, p)
	}
	s.checkWindowsOptions(sc.WindowsOptions, p.Child("windowsOptions"))
	s.Add(validateAppArmor(sc.AppArmorProfile, p.Child("appArmorProfile")))
}

// checkNoEscalation reports what would give a process more than it is allowed.
func (s *podSpec) checkNoEscalation(sc *corev1.SecurityContext, p *field.Path) {
	if sc.Privileged != nil && *sc.Privileged {
		s.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	}
	if sc.Capabilities == nil {
		return
	}
	for _, c := range sc.Capabilities.Add {
		if c == "CAP_SYS_ADMIN" {
			s.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
		}
	}
}

// Names of sysctls: words of lower case, joined by dots or slashes
// (https://man7.org/linux/man-pages/man8/sysctl.8.html).
const (
	maxSysctl  = 253
	sysctlWord = `[a-z0-9]([-_a-z0-9]*[a-z0-9])?`
)

var sysctlName = regexp.MustCompile(`^(` + sysctlWord + `[\./])*` + sysctlWord + `$`)

func (s *podSpec) checkSysctls(sysctls []corev1.Sysctl, fld *field.Path) {
	seen := sets.New[string]()
	for i, c := range sysctls {
		p := fld.Index(i).Child("name")
		switch {
		case c.Name == "":
			s.Required(p, "")
		case len(c.Name) > maxSysctl || !sysctlName.MatchString(c.Name):
			s.Invalidf(p, c.Name, "must have at most %d characters and match regex %s", maxSysctl, sysctlName)
		case seen.Has(c.Name):
			s.Duplicate(p, c.Name)
		}
		seen.Insert(c.Name)
		// In a namespace of the host, it would be set for the host.
		switch ns, _, _ := utilsysctl.GetNamespace(c.Name); {
		case s.spec.HostNetwork && ns == utilsysctl.NetNamespace:
			s.Invalid(p, c.Name, "may not be specified when 'hostNetwork' is true")
		case s.spec.HostIPC && ns == utilsysctl.IPCNamespace:
			s.Invalid(p, c.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

func (s *podSpec) checkSeccomp(profile *corev1.SeccompProfile, p *field.Path) {
	if profile == nil {
		return
	}
	if profile.Type == "" {
		s.Required(p.Child("type"), "type is required when seccompProfile is set")
	} else {
		validate.Enum(&s.Errors, p.Child("type"), profile.Type,
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	}
	at := p.Child("localhostProfile")
	switch local := profile.LocalhostProfile; {
	case profile.Type == corev1.SeccompProfileTypeLocalhost && local == nil:
		s.Required(at, "must be set when seccomp type is Localhost")
	case profile.Type == corev1.SeccompProfileTypeLocalhost:
		s.checkRelativePath(at, *local)
	case local != nil:
		s.Invalid(at, profile, "can only be set when seccomp type is Localhost")
	}
}

// maxAppArmorProfile is the longest path that Linux knows, less its end.
const maxAppArmorProfile = 4095

// validateAppArmor checks a profile, which may be nil.
func validateAppArmor(profile *corev1.AppArmorProfile, p *field.Path) field.ErrorList {
	if profile == nil {
		return nil
	}
	var e validate.Errors
	at := p.Child("localhostProfile")
	switch local := profile.LocalhostProfile; profile.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		const missing = "must be set when AppArmor type is Localhost"
		if local == nil {
			e.Required(at, missing)
			break
		}
		if strings.TrimSpace(*local) != *local {
			e.Invalid(at, *local, "must not be padded with whitespace")
		} else if *local == "" {
			e.Required(at, missing)
		}
		if len(*local) > maxAppArmorProfile {
			e.TooLong(at, maxAppArmorProfile)
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if local != nil {
			e.Invalid(at, local, "can only be set when AppArmor type is Localhost")
		}
	case "":
		e.Required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		validate.Enum(&e, p.Child("type"), profile.Type,
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	}
	return e.List()
}

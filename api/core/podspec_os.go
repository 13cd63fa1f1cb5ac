package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkLinux reports what only Windows has.
func (s *podSpec) checkLinux(fld *field.Path) {
	const why = "windows options cannot be set for a linux pod"
	if sc := s.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		s.Forbidden(fld.Child("securityContext", "windowsOptions"), why)
	}
	for c, p := range containers(s.spec, fld) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			s.Forbidden(p.Child("securityContext", "windowsOptions"), why)
		}
	}
}

// fieldSet tells whether a field, by its name in paths, was set.
type fieldSet struct {
	name string
	set  bool
}

// checkWindows reports what only Linux has.
func (s *podSpec) checkWindows(fld *field.Path) {
	forbid := func(p *field.Path, fields ...fieldSet) {
		for _, f := range fields {
			if f.set {
				s.Forbidden(p.Child(f.name), "cannot be set for a windows pod")
			}
		}
	}
	if sc := s.spec.SecurityContext; sc != nil {
		forbid(fld.Child("securityContext"),
			fieldSet{"appArmorProfile", sc.AppArmorProfile != nil},
			fieldSet{"seLinuxOptions", sc.SELinuxOptions != nil},
			fieldSet{"seccompProfile", sc.SeccompProfile != nil},
			fieldSet{"fsGroup", sc.FSGroup != nil},
			fieldSet{"fsGroupChangePolicy", sc.FSGroupChangePolicy != nil},
			fieldSet{"sysctls", len(sc.Sysctls) > 0},
			fieldSet{"runAsUser", sc.RunAsUser != nil},
			fieldSet{"runAsGroup", sc.RunAsGroup != nil},
			fieldSet{"supplementalGroups", sc.SupplementalGroups != nil},
			fieldSet{"supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil},
			fieldSet{"seLinuxChangePolicy", sc.SELinuxChangePolicy != nil},
		)
	}
	forbid(fld,
		fieldSet{"hostUsers", s.spec.HostUsers != nil},
		fieldSet{"hostPID", s.spec.HostPID},
		fieldSet{"hostIPC", s.spec.HostIPC},
		fieldSet{"shareProcessNamespace", s.spec.ShareProcessNamespace != nil},
	)
	for c, p := range containers(s.spec, fld) {
		sc := c.SecurityContext
		if sc == nil {
			continue
		}
		forbid(p.Child("securityContext"),
			fieldSet{"appArmorProfile", sc.AppArmorProfile != nil},
			fieldSet{"seLinuxOptions", sc.SELinuxOptions != nil},
			fieldSet{"seccompProfile", sc.SeccompProfile != nil},
			fieldSet{"capabilities", sc.Capabilities != nil},
			fieldSet{"readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil},
			fieldSet{"privileged", sc.Privileged != nil},
			fieldSet{"allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil},
			fieldSet{"procMount", sc.ProcMount != nil},
			fieldSet{"runAsUser", sc.RunAsUser != nil},
			fieldSet{"runAsGroup", sc.RunAsGroup != nil},
		)
	}
}

// Limits of Windows: of credential specs, which have a few hundred bytes
// usually, and of user names, DOMAIN\USER
// (https://learn.microsoft.com/troubleshoot/windows-server/identity/naming-conventions-for-computer-domain-site-ou).
const (
	maxCredentialSpecKiB = 64
	maxUserDomain        = 256
	maxUserName          = 104
)

var (
	controlChars  = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSDomain = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain     = regexp.MustCompile(`^` + dnsDomainLabel + `(?:\.` + dnsDomainLabel + `)*$`)
	badUserChars  = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	dotsAndSpaces = regexp.MustCompile(`^[\. ]+$`)
)

const dnsDomainLabel = `[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`

func (s *podSpec) checkWindowsOptions(o *corev1.WindowsSecurityContextOptions, p *field.Path) {
	if o == nil {
		return
	}
	if n := o.GMSACredentialSpecName; n != nil {
		s.Messages(p.Child("gmsaCredentialSpecName"), *n, validation.IsDNS1123Subdomain(*n))
	}
	if c := o.GMSACredentialSpec; c != nil {
		if *c == "" {
			s.Invalid(p.Child("gmsaCredentialSpec"), *c, "gmsaCredentialSpec cannot be an empty string")
		} else if len(*c) > maxCredentialSpecKiB*1024 {
			s.Invalidf(p.Child("gmsaCredentialSpec"), *c, "gmsaCredentialSpec size must be under %d KiB", maxCredentialSpecKiB)
		}
	}
	if u := o.RunAsUserName; u != nil {
		s.Messages(p.Child("runAsUserName"), *u, windowsUser(*u))
	}
}

// windowsUser tells what is wrong with the name of a user of Windows.
func windowsUser(name string) []string {
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case controlChars.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case strings.Count(name, `\`) > 1:
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var msgs []string
	domain, user, hasDomain := strings.Cut(name, `\`)
	if !hasDomain {
		domain, user = "", name
	}
	if len(domain) >= maxUserDomain {
		msgs = append(msgs, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", maxUserDomain))
	}
	if hasDomain && !netBIOSDomain.MatchString(domain) && !dnsDomain.MatchString(domain) {
		msgs = append(msgs, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		msgs = append(msgs, "runAsUserName's User cannot be empty")
	} else if len(user) > maxUserName {
		msgs = append(msgs, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", maxUserName))
	}
	if dotsAndSpaces.MatchString(user) {
		msgs = append(msgs, "runAsUserName's User cannot contain only periods or spaces")
	}
	if badUserChars.MatchString(user) {
		msgs = append(msgs, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return msgs
}

// checkWindowsHostProcess checks containers that run as processes of a Windows
// host: all of a pod or none, and in the host's network.
func (s *podSpec) checkWindowsHostProcess(fld *field.Path) {
	var whole *bool
	if sc := s.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		whole = sc.WindowsOptions.HostProcess
	}
	all, host := 0, 0
	for c, p := range containers(s.spec, fld) {
		all++
		own := whole
		if sc := c.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			own = sc.WindowsOptions.HostProcess
			if whole != nil && *whole != *own {
				s.Invalidf(p.Child("securityContext", "windowsOptions", "hostProcess"), *own,
					"pod hostProcess value must be identical if both are specified, was %v", *whole)
			}
		}
		if own != nil && *own {
			host++
		}
	}
	if host == 0 {
		return
	}
	if host != all {
		s.Invalid(fld, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !s.spec.HostNetwork {
		s.Invalid(fld.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

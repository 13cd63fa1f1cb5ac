package core_test

import (
	"strings"
	"testing"
)

func TestPodSecurityContext(t *testing.T) {
	const s = "spec.securityContext"
	checkRows(t, []row{
		{"users and groups are in range", `{securityContext: {runAsUser: -1, runAsGroup: 2147483648, fsGroup: -2, supplementalGroups: [1, -3]}}`,
			[]string{
				s + ".fsGroup: Invalid value: -2: must be between 0 and 2147483647, inclusive",
				s + ".runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
				s + ".runAsGroup: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
				s + ".supplementalGroups[1]: Invalid value: -3: must be between 0 and 2147483647, inclusive",
			}},
		{"policies are known", `{securityContext: {fsGroupChangePolicy: Never, supplementalGroupsPolicy: All, seLinuxChangePolicy: None}}`,
			[]string{
				s + `.fsGroupChangePolicy: Unsupported value: "Never": supported values: "Always", "OnRootMismatch"`,
				s + `.supplementalGroupsPolicy: Unsupported value: "All": supported values: "Merge", "Strict"`,
				s + `.seLinuxChangePolicy: Unsupported value: "None": supported values: "MountOption", "Recursive"`,
			}},
		{"sysctls", `{securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}, {name: kernel/shm_rmid_forced, value: "1"}]}}`, nil},
		{"a sysctl has a name", `{securityContext: {sysctls: [{value: "1"}]}}`, []string{s + ".sysctls[0].name: Required value"}},
		{"a sysctl's name has a form", `{securityContext: {sysctls: [{name: "net..x", value: "1"}]}}`,
			[]string{s + `.sysctls[0].name: Invalid value: "net..x": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`}},
		{"a sysctl is set once", `{securityContext: {sysctls: [{name: a.b, value: "1"}, {name: a.b, value: "2"}]}}`, []string{s + `.sysctls[1].name: Duplicate value: "a.b"`}},
		{"the host's network is not set", `{hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: "1"}]}}`,
			[]string{s + `.sysctls[0].name: Invalid value: "net.ipv4.ip_forward": may not be specified when 'hostNetwork' is true`}},
		{"the host's shared memory is not set", `{hostIPC: true, securityContext: {sysctls: [{name: kernel.shmmax, value: "1"}]}}`,
			[]string{s + `.sysctls[0].name: Invalid value: "kernel.shmmax": may not be specified when 'hostIPC' is true`}},
		{"a seccomp profile has a type", `{securityContext: {seccompProfile: {}}}`, []string{s + ".seccompProfile.type: Required value: type is required when seccompProfile is set"}},
		{"a seccomp profile has a known type", `{securityContext: {seccompProfile: {type: Strict}}}`,
			[]string{s + `.seccompProfile.type: Unsupported value: "Strict": supported values: "Localhost", "RuntimeDefault", "Unconfined"`}},
		{"a local seccomp profile has a path", `{securityContext: {seccompProfile: {type: Localhost}}}`,
			[]string{s + ".seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"}},
		{"a local seccomp profile's path stays inside", `{securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}}}`,
			[]string{s + `.seccompProfile.localhostProfile: Invalid value: "../x": must not contain '..'`}},
		{"other seccomp profiles have no path", `{securityContext: {seccompProfile: {type: Unconfined, localhostProfile: x}}}`,
			[]string{s + `.seccompProfile.localhostProfile: Invalid value: …`}},
		{"an AppArmor profile has a type", `{securityContext: {appArmorProfile: {}}}`, []string{s + ".appArmorProfile.type: Required value: type is required when appArmorProfile is set"}},
		{"an AppArmor profile has a known type", `{securityContext: {appArmorProfile: {type: X}}}`,
			[]string{s + `.appArmorProfile.type: Unsupported value: "X": supported values: "Localhost", "RuntimeDefault", "Unconfined"`}},
		{"a local AppArmor profile has a name", `{securityContext: {appArmorProfile: {type: Localhost}}}`,
			[]string{s + ".appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"}},
		{"a local AppArmor profile has no blanks", `{securityContext: {appArmorProfile: {type: Localhost, localhostProfile: " x"}}}`,
			[]string{s + `.appArmorProfile.localhostProfile: Invalid value: " x": must not be padded with whitespace`}},
		{"other AppArmor profiles have no name", `{securityContext: {appArmorProfile: {type: Unconfined, localhostProfile: x}}}`,
			[]string{s + `.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost`}},
		{"one process namespace is shared", `{hostPID: true, shareProcessNamespace: true}`,
			[]string{"spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"}},
		{"a user namespace goes with no namespace of the host", `{hostUsers: false, hostPID: true, hostIPC: true, hostNetwork: true}`,
			[]string{"spec.hostNetwork: Forbidden: when `hostUsers` is false", "spec.HostPID: Forbidden: when `hostUsers` is false", "spec.HostIPC: Forbidden: when `hostUsers` is false"}},
		{"a user namespace goes with no devices", `{hostUsers: false, volumes: [{name: d, persistentVolumeClaim: {claimName: d}}], containers: [{name: c, image: i, volumeDevices: [{name: d, devicePath: /d}]}]}`,
			[]string{"spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false"}},
		{"an unmasked /proc goes with a user namespace", `{hostUsers: false, containers: [{name: c, image: i, securityContext: {procMount: Unmasked}}]}`, nil},
	}, asSpec)
}

func TestSecurityContext(t *testing.T) {
	const s = "spec.containers[0].securityContext"
	checkRows(t, []row{
		{"privileged", `{securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}}`, nil},
		{"users and groups are in range", `{securityContext: {runAsUser: -1, runAsGroup: -2}}`,
			[]string{s + ".runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive", s + ".runAsGroup: Invalid value: -2: must be between 0 and 2147483647, inclusive"}},
		{"an unmasked /proc needs a user namespace", `{securityContext: {procMount: Unmasked}}`,
			[]string{s + ".procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"}},
		{"a view of /proc is known", `{securityContext: {procMount: Half}}`,
			[]string{s + `.procMount: Unsupported value: "Half": supported values: "Default", "Unmasked"`}},
		{"the privileged have all privileges", `{securityContext: {privileged: true, allowPrivilegeEscalation: false}}`,
			[]string{s + ": Invalid value: …"}},
		{"an administrator has privileges", `{securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}, allowPrivilegeEscalation: false}}`,
			[]string{s + ": Invalid value: …"}},
		{"a name of a GMSA spec is valid", `{securityContext: {windowsOptions: {gmsaCredentialSpecName: A}}}`, []string{s + `.windowsOptions.gmsaCredentialSpecName: Invalid value: "A": ` + subMsg}},
		{"a GMSA spec is not empty", `{securityContext: {windowsOptions: {gmsaCredentialSpec: ""}}}`, []string{s + `.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string`}},
		{"a user of Windows", `{securityContext: {windowsOptions: {runAsUserName: 'NT AUTHORITY\SYSTEM'}}}`, nil},
		{"a user of Windows has a name", `{securityContext: {windowsOptions: {runAsUserName: ""}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: "": runAsUserName cannot be an empty string`}},
		{"a user of Windows is in one domain", `{securityContext: {windowsOptions: {runAsUserName: 'a\b\c'}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: "a\\b\\c": runAsUserName cannot contain more than one backslash`}},
		{"a user of Windows is not all dots", `{securityContext: {windowsOptions: {runAsUserName: '.. .'}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: ".. .": runAsUserName's User cannot contain only periods or spaces`}},
		{"a user of Windows has few special characters", `{securityContext: {windowsOptions: {runAsUserName: 'a@b'}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: "a@b": runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`}},
		{"a user of Windows has a short name", `{securityContext: {windowsOptions: {runAsUserName: "` + strings.Repeat("a", 105) + `"}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: "` + strings.Repeat("a", 105) + `": runAsUserName's User length must not be longer than 104 characters`}},
		{"a domain of Windows has a form", `{securityContext: {windowsOptions: {runAsUserName: '.a\b'}}}`, []string{s + `.windowsOptions.runAsUserName: Invalid value: ".a\\b": runAsUserName's Domain doesn't match the NetBios nor the DNS format`}},
	}, asContainer)
}

func TestSystems(t *testing.T) {
	const why = ": Forbidden: cannot be set for a windows pod"
	checkRows(t, []row{
		{"a system has a name", `{os: {}}`, []string{"spec.os.name: Required value"}},
		{"a system is known", `{os: {name: plan9}}`, []string{`spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`}},
		{"Linux has no options of Windows", `{os: {name: linux}, securityContext: {windowsOptions: {runAsUserName: a}}, containers: [{name: c, image: i, securityContext: {windowsOptions: {runAsUserName: a}}}]}`,
			[]string{"spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod", "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"}},
		{"Windows has no options of Linux", `{os: {name: windows}, hostPID: true, hostIPC: true, hostUsers: true, shareProcessNamespace: false, securityContext: {runAsUser: 1, fsGroup: 1, supplementalGroups: [1], seLinuxOptions: {}, sysctls: [{name: a, value: b}], seccompProfile: {type: Unconfined}}}`,
			[]string{
				"spec.securityContext.seLinuxOptions" + why, "spec.securityContext.seccompProfile" + why, "spec.securityContext.fsGroup" + why,
				"spec.securityContext.sysctls" + why, "spec.securityContext.runAsUser" + why, "spec.securityContext.supplementalGroups" + why,
				"spec.hostUsers" + why, "spec.hostPID" + why, "spec.hostIPC" + why, "spec.shareProcessNamespace" + why,
			}},
		{"containers of Windows have no options of Linux", `{os: {name: windows}, containers: [{name: c, image: i, securityContext: {privileged: true, capabilities: {}, readOnlyRootFilesystem: true, allowPrivilegeEscalation: true, procMount: Default, runAsUser: 1, runAsGroup: 1}}]}`,
			[]string{
				"spec.containers[0].securityContext.capabilities" + why, "spec.containers[0].securityContext.readOnlyRootFilesystem" + why,
				"spec.containers[0].securityContext.privileged" + why, "spec.containers[0].securityContext.allowPrivilegeEscalation" + why,
				"spec.containers[0].securityContext.procMount" + why, "spec.containers[0].securityContext.runAsUser" + why, "spec.containers[0].securityContext.runAsGroup" + why,
			}},
		{"processes of a Windows host are in its network", `{securityContext: {windowsOptions: {hostProcess: true}}}`,
			[]string{"spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"}},
		{"processes of a Windows host are among themselves", `{hostNetwork: true, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}, {name: b, image: i}]}`,
			[]string{`spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers`}},
		{"pod and container agree on host processes", `{hostNetwork: true, securityContext: {windowsOptions: {hostProcess: true}}, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: false}}}]}`,
			[]string{"spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true"}},
	}, asSpec)
}

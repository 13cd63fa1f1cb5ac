package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// maxCronJobName leaves room for the 11 characters that its jobs' names add,
// in the 63 that a label may have.
const maxCronJobName = 52

// CronJob runs jobs by the clock.
var CronJob = api.Of[batchv1.CronJob]{
	Group: batchv1.GroupName, Version: "v1", Kind: "CronJob", Resource: "cronjobs",
	ShortNames: []string{"cj"},
	Categories: []string{"all"},
	Generation: true,

	Default:        defaultCronJob,
	PrepareCreate:  func(c *batchv1.CronJob) { dropDisabledFields(&c.Spec.JobTemplate.Spec) },
	PrepareUpdate:  func(c, _ *batchv1.CronJob) { dropDisabledFields(&c.Spec.JobTemplate.Spec) },
	Validate:       validateCronJob,
	ValidateCreate: validateCronJobCreate,
	ValidateUpdate: validateCronJobUpdate,
	Warnings:       warnCronJob,

	Status: &api.Status[batchv1.CronJob]{FreeFinalizers: true},

	Columns: []api.Column[batchv1.CronJob]{
		print.Name[batchv1.CronJob](),
		{
			Name: "Schedule", Description: batchv1.CronJobSpec{}.SwaggerDoc()["schedule"],
			Value: func(c *batchv1.CronJob) any { return c.Spec.Schedule },
		},
		{
			Name: "Timezone", Description: batchv1.CronJobSpec{}.SwaggerDoc()["timeZone"],
			Value: func(c *batchv1.CronJob) any { return ptr.Deref(c.Spec.TimeZone, print.None) },
		},
		{
			Name: "Suspend", Type: "boolean", Description: batchv1.CronJobSpec{}.SwaggerDoc()["suspend"],
			Value: func(c *batchv1.CronJob) any { return suspended(c.Spec.Suspend) },
		},
		{
			Name: "Active", Type: "integer", Description: batchv1.CronJobStatus{}.SwaggerDoc()["active"],
			Value: func(c *batchv1.CronJob) any { return int64(len(c.Status.Active)) },
		},
		{
			Name: "Last Schedule", Description: batchv1.CronJobStatus{}.SwaggerDoc()["lastScheduleTime"],
			Value: func(c *batchv1.CronJob) any {
				if c.Status.LastScheduleTime == nil {
					return print.None
				}
				return print.Since(*c.Status.LastScheduleTime)
			},
		},
		print.Age[batchv1.CronJob](),
		{
			Name: "Containers", Priority: 1, Description: "Names of each container in the template.",
			Value: func(c *batchv1.CronJob) any {
				return print.ContainerNames(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
			},
		},
		{
			Name: "Images", Priority: 1, Description: "Images referenced by each container in the template.",
			Value: func(c *batchv1.CronJob) any {
				return print.ContainerImages(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
			},
		},
		{
			Name: "Selector", Priority: 1, Description: batchv1.JobSpec{}.SwaggerDoc()["selector"],
			Value: func(c *batchv1.CronJob) any { return metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector) },
		},
	},
}

func suspended(b *bool) string {
	switch {
	case b == nil:
		return "<unset>"
	case *b:
		return "True"
	}
	return "False"
}

func defaultCronJob(c *batchv1.CronJob) {
	core.DefaultPodTemplate(&c.Spec.JobTemplate.Spec.Template)
	defaultFailurePolicy(c.Spec.JobTemplate.Spec.PodFailurePolicy)
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	if c.Spec.Suspend == nil {
		c.Spec.Suspend = ptr.To(false)
	}
	if c.Spec.SuccessfulJobsHistoryLimit == nil {
		c.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](3)
	}
	if c.Spec.FailedJobsHistoryLimit == nil {
		c.Spec.FailedJobsHistoryLimit = ptr.To[int32](1)
	}
}

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	var e validate.Errors
	spec, fld := &c.Spec, field.NewPath("spec")
	if _, err := parseSchedule(spec.Schedule); err != nil && spec.Schedule != "" {
		e.Invalid(fld.Child("schedule"), spec.Schedule, err.Error())
	}
	checkOptional(&e, fld.Child("startingDeadlineSeconds"), spec.StartingDeadlineSeconds)
	if spec.TimeZone != nil {
		checkTimeZone(&e, *spec.TimeZone, fld.Child("timeZone"))
	}
	validate.RequiredEnum(&e, fld.Child("concurrencyPolicy"), spec.ConcurrencyPolicy,
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	checkJobTemplate(&e, &spec.JobTemplate.Spec, fld.Child("jobTemplate", "spec"))
	checkOptional(&e, fld.Child("successfulJobsHistoryLimit"), spec.SuccessfulJobsHistoryLimit)
	checkOptional(&e, fld.Child("failedJobsHistoryLimit"), spec.FailedJobsHistoryLimit)
	if spec.Schedule == "" {
		e.Required(fld.Child("schedule"), "")
	}
	return e.List()
}

// parseSchedule reads a schedule. The parser panics on some time zones that
// are not followed by a schedule.
func parseSchedule(text string) (cron.Schedule, error) {
	if zone := strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ="); zone && !strings.Contains(text, " ") {
		return nil, fmt.Errorf("expected a schedule after the time zone: %s", text)
	}
	return cron.ParseStandard(text)
}

// checkJobTemplate: each job of a CronJob gets a selector of its own.
func checkJobTemplate(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	checkJobSpec(e, spec, fld)
	if spec.Selector != nil {
		e.Invalid(fld.Child("selector"), spec.Selector, "`selector` will be auto-generated")
	}
	if ptr.Deref(spec.ManualSelector, false) {
		e.Add(field.ErrorList{field.NotSupported(fld.Child("manualSelector"), spec.ManualSelector, []string{"nil", "false"})})
	}
}

// zonePart is one part of a zone's name, with what the old names have beside
// what https://data.iana.org/time-zones/theory.html#naming allows.
var zonePart = regexp.MustCompile(`^[A-Za-z._0-9+-]{1,14}$`)

func checkTimeZone(e *validate.Errors, zone string, fld *field.Path) {
	if zone == "" {
		e.Invalid(fld, zone, "timeZone must be nil or non-empty string")
		return
	}
	for part := range strings.SplitSeq(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part) {
			e.Invalidf(fld, zone, "unknown time zone %s", zone)
			return
		}
	}
	if strings.EqualFold(zone, "Local") {
		e.Invalid(fld, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(zone); err != nil {
		e.Invalid(fld, zone, err.Error())
	}
}

func validateCronJobCreate(c *batchv1.CronJob) field.ErrorList {
	var e validate.Errors
	checkScheduleZone(&e, c, nil)
	if len(c.Name) > maxCronJobName {
		e.Invalidf(field.NewPath("metadata", "name"), c.Name, "must be no more than %d characters", maxCronJobName)
	}
	return e.List()
}

func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	var e validate.Errors
	checkScheduleZone(&e, c, old)
	return e.List()
}

// checkScheduleZone refuses a zone in the schedule, unless there was one.
func checkScheduleZone(e *validate.Errors, c, old *batchv1.CronJob) {
	if !strings.Contains(c.Spec.Schedule, "TZ") {
		return
	}
	fld := field.NewPath("spec", "schedule")
	switch had := old != nil && strings.Contains(old.Spec.Schedule, "TZ"); {
	case !had:
		e.Invalid(fld, c.Spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	case c.Spec.TimeZone != nil:
		e.Invalid(fld, c.Spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	}
}

func warnCronJob(c, old *batchv1.CronJob) []string {
	var warnings []string
	if old == nil {
		warnings = nameWarnings(c.Name)
	}
	if old == nil || c.Generation != old.Generation {
		warnings = append(warnings, jobSpecWarnings(&c.Spec.JobTemplate.Spec, field.NewPath("spec", "jobTemplate", "spec"))...)
	}
	if strings.Contains(c.Spec.Schedule, "TZ") {
		warnings = append(warnings, "CRON_TZ or TZ used in spec.schedule is not officially supported, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return warnings
}

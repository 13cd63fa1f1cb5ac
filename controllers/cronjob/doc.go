// Package cronjob starts a Job of each CronJob whenever its schedule says so,
// and deletes the Jobs that its history has no room for.
//
//	Jobs ─▶ planActive ─▶ which still run, which have finished
//	schedule ─▶ planRun ─┬▶ create <cronjob>-<minutes>, or say why not
//	                     └▶ when to look again: no earlier
//	Jobs ─▶ planHistory ─▶ delete the oldest
//	                status, once, at the end
//
// Reads CronJobs and Jobs. Writes Jobs (create, delete), CronJob.status and
// Events. Start at reconciler.go.
package cronjob

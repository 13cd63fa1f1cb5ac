// Package job runs the pods of each Job until enough have succeeded or too
// many have failed, and counts every one of them exactly once.
//
// A pod carries the finalizer batch.kubernetes.io/job-tracking until its end is
// counted, so that none is missed when it is deleted:
//
//	pods ─▶ tally ─▶ verdict ─┬ ends: delete the active ones
//	                          └ goes on: planScale ─▶ create, or delete
//	        planCount ─▶ status names the ended pods (uncounted)
//	                  ─▶ finalizers off ─▶ counters ─▶ Complete or Failed
//
// The two steps of an end, FailureTarget before Failed and SuccessCriteriaMet
// before Complete, tell when the outcome is certain and when all pods are gone.
//
// Reads Jobs and Pods. Writes Pods (create, delete, owner reference, the
// finalizer), Job.status and Events. Jobs with another managedBy are left
// alone. Start at reconciler.go.
package job

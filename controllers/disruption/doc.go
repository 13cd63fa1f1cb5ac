// Package disruption counts how many pods of each PodDisruptionBudget may be
// evicted now, and takes back the condition DisruptionTarget from pods that
// were to be disrupted and were not.
//
// The API server lowers status.disruptionsAllowed and notes the pod in
// status.disruptedPods when it evicts one; this controller sees pods go and
// counts anew.
//
// It reads budgets, pods and the scale of what controls the pods; it writes a
// budget's status and a pod's condition DisruptionTarget. Start at
// reconciler.go; plan.go decides.
package disruption

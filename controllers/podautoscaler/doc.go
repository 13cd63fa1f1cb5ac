// Package podautoscaler keeps the scale of each HorizontalPodAutoscaler's
// target where its metrics are near what they should be.
//
//	scale ─▶ metrics (sources.go) ─▶ replicas that each asks for (replicas.go,
//	pods.go) ─▶ the most of them ─▶ limits and calm (behavior.go) ─▶ scale
//
// It reads autoscalers, pods, scales and the three metrics APIs; it writes a
// target's scale and an autoscaler's status. Start at reconciler.go; a turn
// comes every fifteen seconds for each autoscaler there is.
package podautoscaler

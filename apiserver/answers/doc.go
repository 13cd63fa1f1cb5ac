// Package answers keeps webhooks, those of admission and those that convert
// custom resources, from filling the server's memory.
//
// Reads and writes nothing of the cluster's. Start at Limit.
package answers

// Package simulated runs pods in memory, for tests, libraries and clusters of
// thousands of nodes: containers start at once and run until they are ended.
//
// Two annotations of a pod make its containers end by themselves, so that Jobs
// can be tried: "simulated.skiff.dev/run-for", a duration, and
// "simulated.skiff.dev/exit-code", 0 by default. Init containers complete at
// once.
//
// Reads and writes nothing outside of the process. Start at New.
package simulated

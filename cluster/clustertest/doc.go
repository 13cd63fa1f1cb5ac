// Package clustertest gives a test a cluster of its own, in the test's
// process, and ends it with the test.
//
//	c := clustertest.New(t)
//	err := c.Client().Create(t.Context(), &appsv1.Deployment{…})
//
// Reads and writes a temporary directory. Start at New.
package clustertest

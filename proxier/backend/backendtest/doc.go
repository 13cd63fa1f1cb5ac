// Package backendtest is the suite that every proxier backend passes: Run
// builds a node with pods and clients out of network namespaces, gives the
// backend services in the form of API objects and sends real traffic. It needs
// root. Start at Run (suite.go); the node is in lab.go.
package backendtest

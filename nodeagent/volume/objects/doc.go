// Package objects keeps the ConfigMaps and Secrets that the pods of one node
// name, by one watch for each of them, which is all that NodeRestriction lets
// a node see.
//
// Reads ConfigMaps and Secrets by name. Writes nothing. Start at [Cache].
package objects

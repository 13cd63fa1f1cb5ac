// Package all joins the kinds of every group, for those who serve or check
// all of them.
//
// Reads nothing, writes nothing.
package all

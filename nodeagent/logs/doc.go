// Package logs writes and reads the output of containers in the log format of
// CRI, "time stream F|P text", and rotates the files.
//
// Writes pods/<namespace>_<name>_<uid>/<container>/<attempt>.log and, of
// rotated ones, <attempt>.log.<time>[.gz]. Start at [Open] to write and at
// [Read] to read.
package logs

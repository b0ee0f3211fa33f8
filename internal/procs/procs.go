// Package procs looks at other processes, for those who test that none is left behind.
package procs

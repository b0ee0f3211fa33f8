//go:build !unix || solaris || aix

package bolt

import "os"

// lock does nothing: here a file that is open cannot be renamed anyway, or its locks belong to the process.
func lock(*os.File) error { return nil }

func unlock(*os.File) {}

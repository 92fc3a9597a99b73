//go:build unix

package httpserve

import "syscall"

// descriptorLimit returns how many files this process may have open; 0: no limit,
// or none that can be told.
func descriptorLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Cur) //nolint:unconvert // it is signed on some systems
}

//go:build !unix

package embedded

import (
	"errors"
	"syscall"
)

// diskFull reports whether a write failed for want of room: ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL of Windows.
func diskFull(err error) bool {
	return errors.Is(err, syscall.Errno(39)) || errors.Is(err, syscall.Errno(112))
}

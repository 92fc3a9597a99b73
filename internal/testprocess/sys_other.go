//go:build !linux

package testprocess

import "syscall"

func attributes(uintptr) *syscall.SysProcAttr { return nil }

//go:build !unix

package httpserve

// DescriptorLimit returns 0: no limit that can be told.
func DescriptorLimit() int { return 0 }

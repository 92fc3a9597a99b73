package embedded

import "os"

// WithSync replaces the function that syncs a file.
func WithSync(o Options, sync func(*os.File) error) Options {
	o.syncFile = sync
	return o
}

// Package layers holds the rules that the project keeps about its own source
// tree: which package may import which, what the producer SDK may pull into a
// user's program, and how tests wait. The rules are its tests; it has no code.
package layers

//go:build !race

package testprocess

// RaceEnabled says that the program and the tests have the race detector.
const RaceEnabled = false

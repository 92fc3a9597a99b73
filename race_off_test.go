//go:build !race

package dashstream_test

// raceEnabled makes heavy tests lighter under the race detector.
const raceEnabled = false

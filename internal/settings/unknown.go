package settings

import (
	"regexp"
	"slices"
	"strings"
)

// Prefix begins the variables that belong to this program alone.
const Prefix = "DASHSTREAM_"

// UnknownVariable is a variable under our prefix that no setting reads.
type UnknownVariable struct {
	Name    string
	Nearest string // a setting with a similar name, or empty
}

// testPrefix begins variables of this project's own tests, which programs under test inherit.
const testPrefix = Prefix + "TEST_"

// serviceLink matches the variables that Kubernetes sets for a service that happens to be called dashstream or
// dashstream-something. They are nobody's mistake.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// Unknown picks from the names of an environment those under Prefix that are not known, sorted. Foreign names are none
// of our business.
func Unknown(names []string, known []string) []UnknownVariable {
	var out []UnknownVariable
	for _, name := range slices.Sorted(slices.Values(names)) {
		if !strings.HasPrefix(name, Prefix) || slices.Contains(known, name) || strings.HasPrefix(name, testPrefix) || serviceLink.MatchString(name) {
			continue
		}
		out = append(out, UnknownVariable{Name: name, Nearest: nearest(name, known)})
	}
	return out
}

// nearest returns the known name that takes the fewest edits to reach, when they are few.
func nearest(name string, known []string) string {
	const few = 4
	best, bestDistance := "", few
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts the single-character edits between two short ASCII names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

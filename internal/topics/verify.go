package topics

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// MismatchError says that topics are missing, or so different from their definition that records would be lost, refused
// or unread.
type MismatchError struct {
	Differences []Difference // the breaking ones
}

// Error lists the differences with what to do about each.
func (e *MismatchError) Error() string {
	lines := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// Missing reports whether a topic is not there at all.
func (e *MismatchError) Missing() bool {
	for _, d := range e.Differences {
		if d.What == Topic {
			return true
		}
	}
	return false
}

// Verify compares the topics with their definitions and changes nothing. It returns every difference, for a log and a
// metric; the error is a *MismatchError when one is breaking.
func Verify(ctx context.Context, client *kadm.Client, definitions ...Definition) ([]Difference, error) {
	if err := validateAll(definitions); err != nil {
		return nil, err
	}
	var all, breaking []Difference
	for _, d := range definitions {
		live, err := describeOne(ctx, client, d.Name)
		if err != nil {
			return nil, fmt.Errorf("verify topic %q: %w", d.Name, err)
		}
		for _, diff := range Compare(live, d) {
			all = append(all, diff)
			if diff.Severity == Breaking {
				breaking = append(breaking, diff)
			}
		}
	}
	if len(breaking) > 0 {
		return all, &MismatchError{Differences: breaking}
	}
	return all, nil
}

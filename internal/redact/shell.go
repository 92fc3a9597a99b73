package redact

import "strings"

// matchUser takes the password of the option that curl and others have for user:password. The literal ends with a space or
// an equals sign.
func matchUser(literal string) func(s string, i int) (int, int, int, bool) {
	return func(s string, i int) (int, int, int, bool) {
		if i > 0 && s[i-1] != ' ' && s[i-1] != '\t' && s[i-1] != '\n' {
			return 0, 0, 0, false
		}
		from := skipSpaces(s, i+len(literal))
		from, end := argument(s, from)
		colon, ok := passwordOf(s[from:end])
		if !ok || strings.HasPrefix(s[from+colon:], "//") {
			return 0, 0, end, false
		}
		return from + colon, end, end, true
	}
}

// matchAttachedUser takes the password of -uuser:password for curl and wget.
func matchAttachedUser(s string, i int) (int, int, int, bool) {
	from := i + len(" -u")
	if s[from-1] != 'u' || from == len(s) || s[from] == ' ' || !containsAny(command(s, i), []string{"curl", "wget"}) {
		return 0, 0, 0, false
	}
	from, end := argument(s, from)
	colon, ok := passwordOf(s[from:end])
	if !ok || strings.HasPrefix(s[from+colon:], "//") {
		return 0, 0, end, false
	}
	return from + colon, end, end, true
}

// attachedPassword are programs that take a password right behind -p, apartPassword those that do as the next word.
var (
	attachedPassword = []string{"mysql", "mariadb", "sshpass"}
	apartPassword    = []string{"sshpass", "docker login", "podman login", "registry login", "az login", "oc login"}
)

// maxCommand is how far before an option its program may be.
const maxCommand = 160

// command returns what stands before s[i] in the same command.
func command(s string, i int) string {
	before := s[max(0, i-maxCommand):i]
	return before[strings.LastIndexAny(before, "\n;|&")+1:]
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// matchShortPassword takes the password of -p for the programs whose it is.
func matchShortPassword(s string, i int) (int, int, int, bool) {
	from := i + len(" -p")
	if s[from-1] != 'p' || from == len(s) {
		return 0, 0, 0, false
	}
	programs := attachedPassword
	if s[from] == ' ' {
		programs = apartPassword
		from = skipSpaces(s, from)
	}
	return optionValue(s, i, from, programs)
}

// matchRedisPassword takes the password of -a.
func matchRedisPassword(s string, i int) (int, int, int, bool) {
	return optionValue(s, i, skipSpaces(s, i+len(" -a ")), []string{"redis-cli"})
}

func optionValue(s string, i, from int, programs []string) (int, int, int, bool) {
	if !containsAny(command(s, i), programs) {
		return 0, 0, 0, false
	}
	from, end := argument(s, from)
	return from, end, end, end > from
}

// argument returns the bounds of a word of a command, without its quotes.
func argument(s string, i int) (from, end int) {
	if q, ok := openingAt(s, i); ok {
		return q.at, endOfQuoted(s, q)
	}
	return i, endOfBare(s, i)
}

// matchIdentified takes the password of SQL.
func matchIdentified(s string, i int) (int, int, int, bool) {
	q, ok := openingAt(s, skipSpaces(s, i+len("identified by ")))
	if !ok {
		return 0, 0, 0, false
	}
	end := endOfQuoted(s, q)
	return q.at, end, end, end > q.at
}
